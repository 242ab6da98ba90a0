"""The tools of the server under test that answer by themselves or talk while they run.

Their names, and what each must do, are the conformance suite's. Knows nothing of how they are
served, nor of the tools that answer with questions: those are in `questions`.
"""

import base64
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
from mcp import MCPError, types
from mcp.server import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged

Context = ServerRequestContext[Any, Any]
Answer = types.CallToolResult | types.InputRequiredResult
Run = Callable[[Context, types.CallToolRequestParams], Awaitable[Answer]]

NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}
STEP_SECONDS = 0.05
# Longer than the retry interval of the event streams: the client must have come back meanwhile.
AWAY_SECONDS = 0.2

DRAFT_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""Every keyword that a server may not drop from a tool's schema on its way."""

FORM_WITH_DEFAULTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    },
    "required": [],
}
TITLED = [{"const": "one", "title": "The first"}, {"const": "two", "title": "The second"}]
FORM_WITH_CHOICES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["one", "two"]},
        "titledSingle": {"type": "string", "oneOf": TITLED},
        "legacyEnum": {"type": "string", "enum": ["one", "two"], "enumNames": ["First", "Second"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["one", "two"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
    },
    "required": [],
}
FORM_WITH_ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {"username": {"type": "string"}, "email": {"type": "string"}},
    "required": ["username", "email"],
}


@dataclass(frozen=True, slots=True)
class ServedTool:
    """A tool as it is listed, and what a call of it does."""

    listed: types.Tool
    run: Run


def serve(name: str, run: Run, schema: dict[str, Any] = NO_ARGUMENTS) -> ServedTool:
    """Describe a tool."""
    return ServedTool(types.Tool(name=name, description=run.__doc__, input_schema=schema), run)


def require_text(*names: str) -> dict[str, Any]:
    """Return the schema of a tool whose arguments are all strings and all required."""
    properties = {name: {"type": "string"} for name in names}
    return {"type": "object", "properties": properties, "required": list(names)}


def say(text: str) -> types.CallToolResult:
    """Answer with a text."""
    return types.CallToolResult(content=[types.TextContent(text=text)])


def draw_pixel() -> bytes:
    """Return a PNG of one red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    return b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")


def record_silence() -> bytes:
    """Return a WAV of two silent samples."""
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    body = b"WAVE" + layout + struct.pack("<4sI", b"data", 2) + b"\x80\x80"
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def show_image() -> types.ImageContent:
    """Return the pixel as a content block."""
    return types.ImageContent(data=base64.b64encode(draw_pixel()).decode(), mime_type="image/png")


def embed(uri: str, mime_type: str, text: str) -> types.EmbeddedResource:
    """Return a resource as a content block."""
    resource = types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return types.EmbeddedResource(resource=resource)


def always(description: str, *content: types.ContentBlock, is_error: bool = False) -> Run:
    """Return what a tool does that gives the same answer to every call."""

    async def answer(_context: Context, _call: types.CallToolRequestParams) -> Answer:
        return types.CallToolResult(content=list(content), is_error=is_error)

    answer.__doc__ = description
    return answer


async def log(context: Context, text: str) -> None:
    """Send a log message on the stream of the call."""
    await context.session.send_log_message("info", text, related_request_id=context.request_id)


async def log_steps(context: Context, _call: types.CallToolRequestParams) -> Answer:
    """Send three log messages, some time apart."""
    for text in ("started", "working"):
        await log(context, text)
        await anyio.sleep(STEP_SECONDS)
    await log(context, "done")
    return say("logged three messages")


async def report_steps(context: Context, _call: types.CallToolRequestParams) -> Answer:
    """Report progress three times, some time apart, to a caller who gave a token."""
    for progress in (0, 50):
        await context.session.report_progress(progress, 100)
        await anyio.sleep(STEP_SECONDS)
    await context.session.report_progress(100, 100)
    return say("reported progress three times")


async def ask_model(context: Context, call: types.CallToolRequestParams) -> Answer:
    """Ask the client's model before it answers."""
    prompt = types.TextContent(text=(call.arguments or {})["prompt"])
    reply = await context.session.create_message(
        [types.SamplingMessage(role="user", content=prompt)],
        max_tokens=100,
        related_request_id=context.request_id,
    )
    return say(f"LLM response: {reply.content}")


def ask_user(schema: dict[str, Any]) -> Run:
    """Return what a tool does that has the user fill in a form."""

    async def ask(context: Context, call: types.CallToolRequestParams) -> Answer:
        """Have the user fill in a form before it answers."""
        message = (call.arguments or {}).get("message", "Please fill in")
        reply = await context.session.elicit_form(message, schema, context.request_id)
        return say(f"User response: action={reply.action}, content={reply.content}")

    return ask


async def hang_up(context: Context, _call: types.CallToolRequestParams) -> Answer:
    """Close the event stream in the middle of the call: the client fetches the answer."""
    await log(context, "closing the stream")
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
    await anyio.sleep(AWAY_SECONDS)
    return say("answered after the stream was closed")


async def insist_on_sampling(context: Context, _call: types.CallToolRequestParams) -> Answer:
    """Refuse clients that did not declare sampling."""
    capabilities = context.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        raise MCPError(
            code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="the client has no sampling",
            data={"requiredCapabilities": {"sampling": {}}},
        )
    return say("the client has sampling")


async def echo_region(_context: Context, call: types.CallToolRequestParams) -> Answer:
    """Take an argument that clients repeat in a header."""
    return say(f"region: {(call.arguments or {}).get('region')}")


def list_tools(bus: InMemorySubscriptionBus) -> list[ServedTool]:
    """Return the tools; ``bus`` takes what those publish that change a list."""

    async def announce_tools(_context: Context, _call: types.CallToolRequestParams) -> Answer:
        """Tell subscribers that the list of tools changed."""
        await bus.publish(ToolsListChanged())
        return say("announced")

    async def announce_prompts(_context: Context, _call: types.CallToolRequestParams) -> Answer:
        """Tell subscribers that the list of prompts changed."""
        await bus.publish(PromptsListChanged())
        return say("announced")

    text = types.TextContent(text="This is a simple text response for testing.")
    sound = types.AudioContent(
        data=base64.b64encode(record_silence()).decode(), mime_type="audio/wav"
    )
    page = embed("test://embedded-resource", "text/plain", "An embedded resource.")
    data = embed("test://mixed-content-resource", "application/json", '{"value": 123}')
    error = types.TextContent(text="This tool intentionally returns an error for testing")
    region = {"type": "string", "x-mcp-header": "Region"}
    return [
        serve("test_simple_text", always("Answer with a text.", text)),
        serve("test_image_content", always("Answer with an image.", show_image())),
        serve("test_audio_content", always("Answer with a sound.", sound)),
        serve("test_embedded_resource", always("Answer with a resource.", page)),
        serve(
            "test_multiple_content_types",
            always("Answer with content of three kinds.", text, show_image(), data),
        ),
        serve("test_error_handling", always("Fail as tools should.", error, is_error=True)),
        serve("json_schema_2020_12_tool", always("Have a rich schema.", text), DRAFT_2020_12),
        serve("test_tool_with_logging", log_steps),
        serve("test_logging_tool", log_steps),
        serve("test_tool_with_progress", report_steps),
        serve("test_sampling", ask_model, require_text("prompt")),
        serve("test_elicitation", ask_user(FORM_WITH_ANSWER), require_text("message")),
        serve("test_elicitation_sep1034_defaults", ask_user(FORM_WITH_DEFAULTS)),
        serve("test_elicitation_sep1330_enums", ask_user(FORM_WITH_CHOICES)),
        serve("test_reconnection", hang_up),
        serve("test_missing_capability", insist_on_sampling),
        serve(
            "test_x_mcp_header", echo_region, {"type": "object", "properties": {"region": region}}
        ),
        serve("test_trigger_tool_change", announce_tools),
        serve("test_trigger_prompt_change", announce_prompts),
    ]
