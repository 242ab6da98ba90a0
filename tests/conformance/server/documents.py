"""The resources and prompts of the server under test.

Their addresses and names are the conformance suite's. Knows nothing of how they are served.
"""

import base64
import json
import re

from mcp import MCPError, types

from tests.conformance.server.questions import write_with_context
from tests.conformance.server.tools import draw_pixel, embed, show_image

RESOURCES: dict[str, types.TextResourceContents | types.BlobResourceContents] = {
    "test://static-text": types.TextResourceContents(
        uri="test://static-text", mime_type="text/plain", text="A text that never changes."
    ),
    "test://static-binary": types.BlobResourceContents(
        uri="test://static-binary",
        mime_type="image/png",
        blob=base64.b64encode(draw_pixel()).decode(),
    ),
    "test://watched-resource": types.TextResourceContents(
        uri="test://watched-resource", mime_type="text/plain", text="A text to subscribe to."
    ),
}
TEMPLATE = "test://template/{id}/data"
TEMPLATE_URI = re.compile(r"test://template/(?P<id>[^/]+)/data")

PROMPTS = (
    types.Prompt(name="test_simple_prompt", description="A text."),
    types.Prompt(
        name="test_prompt_with_arguments",
        description="A text with two arguments in it.",
        arguments=[
            types.PromptArgument(name="arg1", description="The first", required=True),
            types.PromptArgument(name="arg2", description="The second", required=True),
        ],
    ),
    types.Prompt(
        name="test_prompt_with_embedded_resource",
        description="A resource of the caller's choice.",
        arguments=[types.PromptArgument(name="resourceUri", description="Its URI", required=True)],
    ),
    types.Prompt(name="test_prompt_with_image", description="An image."),
    types.Prompt(
        name="test_input_required_result_prompt", description="A text about what the user says."
    ),
)


def list_resources() -> list[types.Resource]:
    """Return the resources as they are listed."""
    return [
        types.Resource(uri=uri, name=uri.removeprefix("test://"), mime_type=contents.mime_type)
        for uri, contents in RESOURCES.items()
    ]


def read_resource(uri: str) -> types.ReadResourceResult:
    """Return a resource, or what the template makes of a URI."""
    if uri in RESOURCES:
        return types.ReadResourceResult(contents=[RESOURCES[uri]])
    match = TEMPLATE_URI.fullmatch(uri)
    if match is None:
        # MCP 2026-07-28, resources: -32602, and data that names the resource.
        raise MCPError(types.INVALID_PARAMS, "there is no such resource", {"uri": uri})
    text = json.dumps({"id": match["id"]})
    contents = types.TextResourceContents(uri=uri, mime_type="application/json", text=text)
    return types.ReadResourceResult(contents=[contents])


async def get_prompt(
    params: types.GetPromptRequestParams,
) -> types.GetPromptResult | types.InputRequiredResult:
    """Return a prompt, or the question that it begins with."""
    arguments = params.arguments or {}
    content: list[types.ContentBlock]
    match params.name:
        case "test_simple_prompt":
            content = [types.TextContent(text="This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            content = [types.TextContent(text=f"Both are here: {json.dumps(arguments)}")]
        case "test_prompt_with_embedded_resource":
            content = [embed(arguments["resourceUri"], "text/plain", "The resource.")]
        case "test_prompt_with_image":
            content = [show_image(), types.TextContent(text="What is this?")]
        case "test_input_required_result_prompt":
            return await write_with_context(params)
        case _:
            raise MCPError(types.INVALID_PARAMS, f"there is no prompt {params.name}")
    messages = [types.PromptMessage(role="user", content=block) for block in content]
    return types.GetPromptResult(messages=messages)
