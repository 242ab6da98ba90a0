"""A recorded call, counted as if it had passed: what the operator's rules make of it.

Knows how a recorded call is written down, and which part of a scrape belongs to the rules; does not
know files, settings or the command line. The call takes the way of every call, from JSON text to
exposition, so what is shown here is what a scrape will show.
"""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from mcp_proxy_exporter.observe.custom import SKIPS
from mcp_proxy_exporter.observe.exposition import TEXT
from mcp_proxy_exporter.observe.metrics import Metrics
from mcp_proxy_exporter.observe.series import Series, Store, Value, Values
from mcp_proxy_exporter.observe.softerrors import FAMILY as SOFT_ERRORS
from mcp_proxy_exporter.observe.words import TOOL_CALL
from mcp_proxy_exporter.protocol.events import CallClosed, Client, Event, Tool, ToolsSeen
from mcp_proxy_exporter.protocol.jsonrpc import Message, decode, mend
from mcp_proxy_exporter.protocol.limits import Limits
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.state import ServerState
from mcp_proxy_exporter.protocol.tracker import ExchangeTracker

_OURS = frozenset({SOFT_ERRORS, SKIPS})
_OK = 200
_ABSENT = msgspec.Raw(b"null")
_WRAP = 'is it the JSON-RPC message alone? write {"request": ..., "response": ...}'


class RecordedClient(msgspec.Struct, forbid_unknown_fields=True):
    """Who sent the call, where the request does not say so itself."""

    name: str | None = None
    protocol_version: str | None = None


class RecordedCall(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One call as the file has it."""

    request: msgspec.Raw
    """The JSON-RPC request, a ``tools/call``: its very text, as it would come from the wire."""
    response: msgspec.Raw = _ABSENT
    """The JSON-RPC response; null, if none came in time."""
    duration_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    client: RecordedClient = msgspec.field(default_factory=RecordedClient)
    server: str | None = None
    """The name of the configured server; without, the first one."""


_decode_record = msgspec.json.Decoder(RecordedCall).decode


class WrongRecord(Exception):
    """What was recorded is no call, for a reason that its author can understand."""


def read_record(text: bytes) -> RecordedCall:
    """Read a recorded call; raise WrongRecord."""
    try:
        return _decode_record(text)
    except (ValueError, RecursionError):
        pass
    try:
        return _decode_record(mend(text))
    except (ValueError, RecursionError) as error:
        hint = f"; {_WRAP}" if isinstance(decode(text), Message) else ""
        raise WrongRecord(f"is no recorded call: {str(error).lower()}{hint}") from None


def rehearse(
    metrics: Metrics,
    server: str,
    record: RecordedCall,
    custom: tuple[str, ...],
    limits: Limits,
) -> str:
    """Count a recorded call; return what a scrape then shows of the rules, ``custom`` and ours.

    `custom` are the names of the custom metrics. Raises WrongRecord.
    """
    figures = metrics.server(server)
    judged: list[CallClosed] = []
    figures.watch_ends(judged.append)
    ended: list[CallClosed] = []
    for event in _replay(ServerState(limits, figures.wants), record):
        figures.handle(event)
        if isinstance(event, CallClosed):
            ended.append(event)
    [end], [verdict] = ended, judged
    tool = end.call.name or ""
    is_soft_error = verdict.outcome is not end.outcome
    told = f"# {server}: {tool}: {end.outcome}"
    if is_soft_error:
        told += f", by a rule a soft error: {verdict.outcome}"
    shown = [*_show(metrics.store, {*custom, *_OURS})]
    # The void of a hidden family has taken what nobody sees.
    skips = metrics.store.of(Values, SKIPS)
    counted = [
        *figures.rules.find_metrics(tool),
        *([SOFT_ERRORS] if is_soft_error else []),
        *([SKIPS] if not metrics.store.shows(SKIPS) and skips.child("", "").value else []),
    ]
    hidden = [name for name in counted if not metrics.store.shows(name)]
    shown += [f"# {name}: disabled by metrics.disable\n" for name in hidden]
    return "".join((f"{told}\n", *(shown or ["# no rule counts this call\n"])))


def _show(store: Store, families: set[str]) -> Iterator[str]:
    """Yield the families that have samples, with their headers."""
    for held in store:
        name = held.family.name
        if name in families:
            # Of ours, what is 0 is about other calls than this one.
            series: list[Series] = [
                one
                for one in held.series()
                if name not in _OURS or not isinstance(one, Value) or one.value
            ]
            if series:
                yield TEXT.write(held.family, series)


def _replay(state: ServerState, record: RecordedCall) -> Iterator[Event]:
    tracker = ExchangeTracker(
        state, client=Client(record.client.name, record.client.protocol_version)
    )
    text = bytes(record.request)
    request = _decode(text, "request")
    name = request.params.name if request.params is not None else None
    if request.method != TOOL_CALL or name is None or request.id is msgspec.UNSET:
        raise WrongRecord("request: is no tools/call with an id and a name")
    # Rules are about tools that the server has, so the name is a label.
    yield ToolsSeen((Tool(name),))
    yield from tracker.client_message(request, text, 0.0)
    now = record.duration_seconds
    if record.response != _ABSENT:
        text = bytes(record.response)
        response = _decode(text, "response")
        if response.method is not None or response.id != request.id:
            raise WrongRecord("response: does not answer the request: ids differ, or it is none")
        yield from tracker.server_message(response, text, _OK, now)
    yield from tracker.close(lambda _: Outcome.UPSTREAM_TIMEOUT, now)


def _decode(text: bytes, member: str) -> Message:
    found = decode(text)
    if not isinstance(found, Message):
        raise WrongRecord(f"{member}: is no JSON-RPC 2.0 message")
    return found
