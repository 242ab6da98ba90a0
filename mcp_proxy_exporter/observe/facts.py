"""What expressions can ask of a call that ended: its JSON texts read, once for all of them.

Knows where a call's messages say what; does not know the expressions (`config.expression` has the
names) nor what is counted.
"""

import json
from typing import Any, TypeAlias

import msgspec

from mcp_proxy_exporter.protocol.events import CallClosed

Facts: TypeAlias = dict[str, Any]
"""The members of a call by the names in `config.expression.MEMBERS`."""

REQUEST_MEMBERS = frozenset({"arguments", "meta"})
RESPONSE_MEMBERS = frozenset({"result", "error"})


class _Params(msgspec.Struct, gc=False):
    arguments: Any = None
    meta: Any = msgspec.field(name="_meta", default=None)


class _Request(msgspec.Struct, gc=False):
    params: _Params


class _Response(msgspec.Struct, gc=False):
    result: Any = None
    error: Any = None


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_response = msgspec.json.Decoder(_Response).decode


class Unreadable(Exception):
    """A text that no reader of ours takes, such as one nested too deeply."""


def read_call(
    event: CallClosed, duration: float, *, needs_request: bool, needs_response: bool
) -> Facts:
    """Return what a tool call says; null stands for what nobody needs or nobody said.

    Raises Unreadable.
    """
    client = event.call.client
    facts: Facts = {
        "tool": event.call.name,
        "arguments": None,
        "result": None,
        "error": None,
        "meta": None,
        "client": {"name": client.name, "protocol_version": client.protocol_version},
        "outcome": event.outcome.value,
        "duration_seconds": duration,
    }
    transcript = event.transcript
    if transcript is None:
        return facts
    if needs_request:
        params = _read_request(transcript.request).params
        facts["arguments"], facts["meta"] = params.arguments, params.meta
    if needs_response and transcript.response:
        response = _read_response(transcript.response)
        facts["result"], facts["error"] = response.result, response.error
    return facts


def _read_request(text: bytes) -> _Request:
    try:
        return _decode_request(text)
    except (ValueError, RecursionError):
        params = _read_patiently(text).get("params")
        found = params if isinstance(params, dict) else {}
        return _Request(_Params(found.get("arguments"), found.get("_meta")))


def _read_response(text: bytes) -> _Response:
    try:
        return _decode_response(text)
    except (ValueError, RecursionError):
        found = _read_patiently(text)
        return _Response(found.get("result"), found.get("error"))


def _read_patiently(text: bytes) -> dict[str, Any]:
    # Half an emoji, a number beyond all bounds: the protocol's own reading takes such texts too.
    try:
        found = json.loads(text.decode("utf-8", "replace").removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    return found if isinstance(found, dict) else {}
