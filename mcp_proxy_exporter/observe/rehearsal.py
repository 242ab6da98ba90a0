"""A recorded call, counted as if it had passed: what the operator's rules make of it.

Knows how a recorded call is written down, and which part of a scrape belongs to the rules; does not
know files, settings or the command line. The call takes the way of every call, from JSON text to
exposition, so what is shown here is what a scrape will show.
"""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from mcp_proxy_exporter.observe.exposition import TEXT
from mcp_proxy_exporter.observe.metrics import Metrics
from mcp_proxy_exporter.observe.words import TOOL_CALL
from mcp_proxy_exporter.protocol.events import CallClosed, Client, Event, Tool, ToolsSeen
from mcp_proxy_exporter.protocol.jsonrpc import Message, decode
from mcp_proxy_exporter.protocol.limits import Limits
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.state import ServerState
from mcp_proxy_exporter.protocol.tracker import ExchangeTracker

SOFT_ERRORS = "mcp_tool_soft_errors_total"
SKIPS = "mcp_proxy_custom_metric_skips_total"

_OURS = frozenset({SOFT_ERRORS, SKIPS})
_OK = 200


class RecordedClient(msgspec.Struct, forbid_unknown_fields=True):
    """Who sent the call, where the request does not say so itself."""

    name: str | None = None
    protocol_version: str | None = None


class RecordedCall(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One call as the file has it."""

    request: dict[str, Any]
    """The JSON-RPC request, a ``tools/call``."""
    response: dict[str, Any] | None = None
    """The JSON-RPC response; none, if none came in time."""
    duration_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    client: RecordedClient = msgspec.field(default_factory=RecordedClient)
    server: str | None = None
    """The name of the configured server; without, the first one."""


class WrongRecord(Exception):
    """What was recorded is no call, for a reason that its author can understand."""


def read_record(text: bytes) -> RecordedCall:
    """Read a recorded call; raise WrongRecord."""
    try:
        return msgspec.json.decode(text, type=RecordedCall)
    except (ValueError, RecursionError) as error:
        raise WrongRecord(f"is no recorded call: {str(error).lower()}") from None


def rehearse(metrics: Metrics, server: str, record: RecordedCall, custom: tuple[str, ...]) -> str:
    """Count a recorded call; return what a scrape then shows of the rules, ``custom`` and ours.

    `custom` are the names of the custom metrics. Raises WrongRecord.
    """
    figures = metrics.server(server)
    outcome = None
    tool = ""
    for event in _replay(ServerState(Limits(), figures.wants), record):
        figures.handle(event)
        if isinstance(event, CallClosed):
            outcome, tool = event.outcome, event.call.name or ""
    lines = [*_select(TEXT.render(metrics).decode(), {*custom, SOFT_ERRORS, SKIPS})]
    if any(line.startswith(SOFT_ERRORS) for line in lines):
        told = f"# {server}: {tool}: {outcome}, by a rule a soft error: {Outcome.TOOL_ERROR}\n"
    else:
        told = f"# {server}: {tool}: {outcome}\n"
    return "".join((told, *lines)) + ("" if lines else "# no rule counts this call\n")


def _replay(state: ServerState, record: RecordedCall) -> Iterator[Event]:
    tracker = ExchangeTracker(
        state, client=Client(record.client.name, record.client.protocol_version)
    )
    request, text = _encode(record.request, "request")
    name = request.params.name if request.params is not None else None
    if request.method != TOOL_CALL or name is None or request.id is msgspec.UNSET:
        raise WrongRecord("request: is no tools/call with an id and a name")
    # Rules are about tools that the server has, so the name is a label.
    yield ToolsSeen((Tool(name),))
    yield from tracker.client_message(request, text, 0.0)
    now = record.duration_seconds
    if record.response is not None:
        response, text = _encode(record.response, "response")
        if response.method is not None or response.id != request.id:
            raise WrongRecord("response: does not answer the request: ids differ, or it is none")
        yield from tracker.server_message(response, text, _OK, now)
    yield from tracker.close(lambda _: Outcome.UPSTREAM_TIMEOUT, now)


def _encode(message: dict[str, Any], member: str) -> tuple[Message, bytes]:
    text = msgspec.json.encode(message)
    found = decode(text)
    if not isinstance(found, Message):
        raise WrongRecord(f"{member}: is no JSON-RPC 2.0 message")
    return found, text


def _select(scrape: str, families: set[str]) -> Iterator[str]:
    """Yield the lines of some families that have samples, with their headers."""
    header: list[str] = []
    name = ""
    for line in scrape.splitlines(keepends=True):
        if line.startswith("#"):
            name = line.split(" ", 3)[2]
            header = [*header, line] if line.startswith("# TYPE ") else [line]
        # Of ours, what is 0 is about other calls than this one.
        elif name in families and not (name in _OURS and line.endswith(" 0\n")):
            yield from header
            header = []
            yield line
