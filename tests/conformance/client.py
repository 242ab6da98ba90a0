"""The client under test, on PyPI ``mcp``: it uses everything that the server it meets has.

Usage: python -m tests.conformance.client URL

The conformance suite starts it once per scenario, says which in the environment, and judges what
arrives at its server. Knows what the suite wants of a client; does not know whether anything is
in between.
"""

import argparse
import asyncio
import json
import os
import sys
import warnings
from typing import Any

import mcp
from mcp import types
from mcp.client.context import ClientRequestContext
from mcp.shared.exceptions import MCPDeprecationWarning
from pydantic import ValidationError

MODERN = "2026-07-28"
# Less than the suite grants a scenario, so that a client that hangs says so itself.
CLIENT_SECONDS = 15.0

# Its server speaks of 2026-07-28, but knows only the handshake of the revisions before.
LEGACY_SCENARIOS = frozenset({"json-schema-ref-no-deref"})

VALUES: dict[str, Any] = {
    "integer": 3,
    "number": 2.5,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}
DEFAULT_VALUE = "a"


def make_up(schema: dict[str, Any]) -> Any:
    """Return a value that fits a property's schema: the default, or one of its type."""
    return schema.get("default", VALUES.get(schema.get("type", "string"), DEFAULT_VALUE))


def make_up_arguments(tool: types.Tool) -> dict[str, Any]:
    """Return arguments for a tool: those that it requires."""
    properties: dict[str, Any] = tool.input_schema.get("properties", {})
    return {name: make_up(properties[name]) for name in tool.input_schema.get("required", [])}


async def fill_in(
    context: ClientRequestContext,  # noqa: ARG001 - the SDK's name for it
    params: types.ElicitRequestParams,
) -> types.ElicitResult:
    """Play the user: accept, with every field filled in."""
    if not isinstance(params, types.ElicitRequestFormParams):
        return types.ElicitResult(action="decline")
    properties: dict[str, Any] = params.requested_schema.get("properties", {})
    content = {name: make_up(schema) for name, schema in properties.items()}
    return types.ElicitResult(action="accept", content=content)


async def play_model(
    context: ClientRequestContext,  # noqa: ARG001
    params: types.CreateMessageRequestParams,  # noqa: ARG001
) -> types.CreateMessageResult:
    """Play the model."""
    content = types.TextContent(text="a reply")
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def list_no_roots(
    context: ClientRequestContext,  # noqa: ARG001
) -> types.ListRootsResult:
    """Say that there are no roots."""
    return types.ListRootsResult(roots=[])


def choose_calls(tools: list[types.Tool]) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls to make: those that the suite wants, otherwise one of each tool."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    if "toolCalls" in context:
        return [(call["name"], call["arguments"]) for call in context["toolCalls"]]
    calls = {tool.name: make_up_arguments(tool) for tool in tools}
    if "json_schema_echo" in calls:
        # The suite compares this with the schema that it sent.
        echoed = next(tool for tool in tools if tool.name == "json_schema_2020_12_tool")
        calls["json_schema_echo"] = {"schema": echoed.input_schema}
    return list(calls.items())


async def use_tools(client: mcp.Client) -> None:
    """List the tools and call them."""
    tools = (await client.list_tools()).tools
    for name, arguments in choose_calls(tools):
        try:
            await client.call_tool(name, arguments)
        # mcp 2.3 rejects a result without `resultType`, which it should take for complete.
        except (mcp.MCPError, ValidationError) as error:
            # Whether all is as it should be is the suite's to say.
            sys.stderr.write(f"{name}: {error}\n")


async def use_documents(client: mcp.Client) -> None:
    """List resources and prompts where the server has them, and read each."""
    capabilities = client.server_capabilities
    if capabilities.resources is not None:
        for resource in (await client.list_resources()).resources:
            await client.read_resource(resource.uri)
    if capabilities.prompts is not None:
        for prompt in (await client.list_prompts()).prompts:
            await client.get_prompt(prompt.name)


async def converse(url: str) -> None:
    """Use everything that a server has."""
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    modern = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"] == MODERN
    async with (
        asyncio.timeout(CLIENT_SECONDS),
        mcp.Client(
            url,
            mode="auto" if modern and scenario not in LEGACY_SCENARIOS else "legacy",
            elicitation_callback=fill_in,
            sampling_callback=play_model,
            list_roots_callback=list_no_roots,
        ) as client,
    ):
        await use_tools(client)
        await use_documents(client)


def run(url: str) -> None:
    """Converse with the server at a URL."""
    # The suite asks for what 2026-07-28 deprecates.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    asyncio.run(converse(url))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    run(parser.parse_args().url)
