"""What expressions can ask of a call that ended: its JSON texts read, once for all of them.

Knows where a call's messages say what, and which of them is not at hand; does not know the
expressions (`config.expression` has the names) nor what is counted.
"""

import json
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec

from mcp_proxy_exporter.protocol.events import CallClosed, Transcript

Facts: TypeAlias = dict[str, Any]
"""The members of a call by the names in `config.expression.MEMBERS`."""

REQUEST_MEMBERS = frozenset({"arguments", "meta"})
RESPONSE_MEMBERS = frozenset({"result", "error"})

UNREADABLE: Final = "unreadable"
"""Why a text is missing that no reader of ours takes, such as one nested too deeply."""

# The texts of a call that nobody was asked to keep.
_NO_TEXTS: Final = Transcript(b"", b"", "uninspected", "uninspected")


class Reading(msgspec.Struct):
    """A call as far as it could be read."""

    facts: Facts
    request_gap: str | None = None
    """Why the members of the request are not known; None where they are, or nobody needs them."""
    response_gap: str | None = None
    """The same of the response."""


class Needs(msgspec.Struct, frozen=True):
    """Which texts of a call somebody reads."""

    request: bool = False
    response: bool = False

    def find_gap(self, reading: Reading) -> str | None:
        """Return why a call cannot be judged: nothing may be concluded from a missing text."""
        if self.request and reading.request_gap is not None:
            return reading.request_gap
        return reading.response_gap if self.response else None


def find_needs(members: Iterable[str]) -> Needs:
    """Return the texts that hold some members of a call."""
    asked = frozenset(members)
    return Needs(bool(asked & REQUEST_MEMBERS), bool(asked & RESPONSE_MEMBERS))


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


class _Unreadable(Exception):
    """Nested too deeply, or no JSON to anybody."""


def read_call(event: CallClosed, duration: float, needs: Needs) -> Reading:
    """Return what a tool call says; null stands for what nobody needs or nobody said."""
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
    reading = Reading(facts)
    transcript = event.transcript or _NO_TEXTS
    if needs.request:
        reading.request_gap = transcript.request_lost
        if reading.request_gap is None:
            try:
                params = _read_request(transcript.request).params
            except _Unreadable:
                reading.request_gap = UNREADABLE
            else:
                facts["arguments"], facts["meta"] = params.arguments, params.meta
    if needs.response:
        reading.response_gap = transcript.response_lost
        if reading.response_gap is None and transcript.response:
            try:
                response = _read_response(transcript.response)
            except _Unreadable:
                reading.response_gap = UNREADABLE
            else:
                facts["result"], facts["error"] = response.result, response.error
    return reading


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
        raise _Unreadable from error
    return found if isinstance(found, dict) else {}
