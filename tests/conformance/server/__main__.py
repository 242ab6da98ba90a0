"""The server under test, on PyPI ``mcp``: what the conformance suite wants a server to have.

Usage: python -m tests.conformance.server PORT

It serves both eras on ``/mcp`` of the loopback address. Knows how the parts are served; does not
know who asks, or whether anything is in between.
"""

import argparse
import warnings

import uvicorn
from mcp import MCPError, types
from mcp.server import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.types.jsonrpc import JSONRPCMessage

from tests.conformance.server import documents
from tests.conformance.server.questions import QUESTIONING_TOOLS
from tests.conformance.server.tools import Answer, Context, ServedTool, list_tools

NAME = "conformance-peer"
# Told to clients in every event stream: they wait so long before they come back.
RETRY_MILLISECONDS = 100
# Streams may be open when it ends.
GRACE_SECONDS = 1


class Journal(EventStore):
    """Events of all streams in one list; an event's id is its place."""

    def __init__(self) -> None:
        self._events: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Note an event; one without a message only gives the client an id to come back with."""
        self._events.append((stream_id, message))
        return str(len(self._events) - 1)

    async def replay_events_after(
        self, last_event_id: str, send_callback: EventCallback
    ) -> str | None:
        """Send what its stream has after an event."""
        if not last_event_id.isdecimal() or int(last_event_id) >= len(self._events):
            return None
        last = int(last_event_id)
        stream, _ = self._events[last]
        for place, (owner, message) in enumerate(self._events[last + 1 :], last + 1):
            if owner == stream and message is not None:
                await send_callback(EventMessage(message, str(place)))
        return stream


class Handlers:
    """What the server does with each method."""

    def __init__(self, tools: dict[str, ServedTool]) -> None:
        self._tools = tools

    def find_schema(self, name: str) -> dict[str, object] | None:
        """Return the schema by which the SDK compares headers with arguments."""
        tool = self._tools.get(name)
        return None if tool is None else tool.listed.input_schema

    async def list_tools(
        self, _context: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.listed for tool in self._tools.values()])

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> Answer:
        if params.name not in self._tools:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name}")
        return await self._tools[params.name].run(context, params)

    async def list_resources(
        self, _context: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=documents.list_resources())

    async def list_templates(
        self, _context: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        template = types.ResourceTemplate(uri_template=documents.TEMPLATE, name="data")
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(
        self, _context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        return documents.read_resource(params.uri)

    async def list_prompts(
        self, _context: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=list(documents.PROMPTS))

    async def get_prompt(
        self, _context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        return await documents.get_prompt(params)

    async def complete(
        self, _context: Context, _params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        return types.CompleteResult(completion=types.Completion(values=[], total=0))

    async def agree(self, _context: Context, _params: types.RequestParams) -> types.EmptyResult:
        """Answer methods that need an answer and nothing else: no resource here ever changes."""
        return types.EmptyResult()


def build_server() -> Server[dict[str, object]]:
    """Build the server."""
    bus = InMemorySubscriptionBus()
    tools = {tool.listed.name: tool for tool in (*list_tools(bus), *QUESTIONING_TOOLS)}
    handlers = Handlers(tools)
    server: Server[dict[str, object]] = Server(
        NAME,
        version="1.0",
        get_tool_input_schema=handlers.find_schema,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_templates,
        on_read_resource=handlers.read_resource,
        on_subscribe_resource=handlers.agree,
        on_unsubscribe_resource=handlers.agree,
        on_subscriptions_listen=ListenHandler(bus),
        on_list_prompts=handlers.list_prompts,
        on_get_prompt=handlers.get_prompt,
        on_completion=handlers.complete,
        on_set_logging_level=handlers.agree,
    )
    # It refuses a state that a client has changed.
    boundary = RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME)
    server.middleware.append(boundary)
    return server


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    port = parser.parse_args().port
    # The suite asks for what 2026-07-28 deprecates.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    app = build_server().streamable_http_app(
        event_store=Journal(), retry_interval=RETRY_MILLISECONDS
    )
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        # httptools, the other choice, leaves white space after a header's value.
        http="h11",
        log_level="error",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


if __name__ == "__main__":
    main()
