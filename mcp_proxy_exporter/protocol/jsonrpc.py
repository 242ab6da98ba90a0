"""JSON-RPC 2.0 messages out of bytes: only the members that somebody needs.

Knows the envelope and the few MCP members of ``params`` and ``error``; does not know which
message answers which, nor what a ``result`` means (it stays raw JSON text). Total on any input:
what is not JSON becomes `Malformed`, what is JSON but not JSON-RPC 2.0 becomes None.

A message is decoded once, into a struct of exact types. Only where a peer broke those types (an
array for ``params``, a number for a name) is it decoded again, member by member.
"""

import re
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from mcp_proxy_exporter.protocol.ids import Id, read_id
from mcp_proxy_exporter.protocol.params import Params, is_absent, read_params, read_text

VERSION: Final = "2.0"

# Messages in one array. The TypeScript SDK accepts 100; ten times that is nobody's habit.
MAX_BATCH: Final = 1_000
# An array is split before its length is known, at about 64 bytes of memory per element; an array
# of n elements holds at least n - 1 commas.
MAX_BATCH_COMMAS: Final = 200_000
# Escaped halves of surrogate pairs in a text that has to be mended, at 0.2 us each.
MAX_SURROGATES: Final = 50_000
# Bytes of a text that is no UTF-8 and is mended all the same: each wrong byte becomes three.
MAX_MENDED: Final = 256 * 1024


class Error(msgspec.Struct, gc=False, frozen=True):
    """``error`` of a response."""

    code: int | float | None = None
    message: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")


class Message(msgspec.Struct, gc=False, frozen=True):
    """One JSON-RPC 2.0 message.

    With a method it is a request (id present) or a notification (no id); without one it is a
    response, which holds a result, an error, or, of a broken peer, both or neither.
    """

    jsonrpc: str | None = None
    id: Id = msgspec.UNSET
    method: str | None = None
    params: Params | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    """The JSON text; empty where the member is absent."""
    error: Error | None = None


class Malformed(msgspec.Struct, gc=False, frozen=True):
    """Bytes that hold no message that could be judged."""

    reason: str
    """A reason of `events.InspectionStopped`."""


class Batch(msgspec.Struct, frozen=True):
    """A JSON array: each element with its JSON text."""

    elements: tuple[tuple["Message | Malformed | None", msgspec.Raw], ...]


Decoded: TypeAlias = Message | Batch | Malformed | None

INVALID_JSON: Final = Malformed("invalid_json")
TOO_LARGE: Final = Malformed("too_large")


class _Loose(msgspec.Struct, gc=False, frozen=True):
    """An envelope of whatever types."""

    jsonrpc: msgspec.Raw = msgspec.Raw(b"")
    id: msgspec.Raw = msgspec.Raw(b"")
    method: msgspec.Raw = msgspec.Raw(b"")
    params: msgspec.Raw = msgspec.Raw(b"")
    result: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


_decode_message = msgspec.json.Decoder(Message).decode
_decode_loose = msgspec.json.Decoder(_Loose).decode
_decode_error = msgspec.json.Decoder(Error).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode

_REPLACEMENT: Final = rb"\\ufffd"
_BOM: Final = b"\xef\xbb\xbf"
# Escaped halves of a UTF-16 pair without the other half: valid JSON (RFC 8259 section 8.2), which
# JavaScript's JSON.stringify writes for every string that was cut within an emoji, but no text
# that the decoder takes. The replacement is as long. An escaped backslash before the same letters
# is hit as well, which alters that text but leaves it valid.
_LONE_SURROGATE: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)


def decode(payload: bytes | bytearray) -> Decoded:
    """Read the JSON text of one HTTP body or one event. Never raises."""
    try:
        message = _decode_message(payload)
    except msgspec.ValidationError:
        return _decode_patiently(bytes(payload), _read)
    except ValueError:  # not JSON, or no UTF-8 in a text that we read
        return _decode_patiently(bytes(payload))
    except RecursionError:
        return TOO_LARGE
    if message.jsonrpc == VERSION and (message.method is not None or _is_response(message)):
        return message
    return None


def _is_response(message: Message) -> bool:
    """Tell a response, even a broken one, from an object that is no message."""
    return message.id is not msgspec.UNSET or message.error is not None or len(message.result) > 0


def _decode_patiently(payload: bytes, *attempts: Callable[[bytes], Decoded]) -> Decoded:
    """Read what the first try refused: arrays, odd types, odd texts, garbage."""
    for attempt in (*attempts, _mend_and_read):
        try:
            return attempt(payload)
        except RecursionError:
            return TOO_LARGE
        except ValueError:
            continue
    return INVALID_JSON


def _mend_and_read(payload: bytes) -> Decoded:
    """Read as the tolerant parsers of the field do: JavaScript's, and Python's ``json``."""
    if payload.count(rb"\ud") + payload.count(rb"\uD") > MAX_SURROGATES:
        return INVALID_JSON
    if len(payload) > MAX_MENDED and not _is_utf8(payload):
        return TOO_LARGE
    text = mend(payload)
    return INVALID_JSON if text == payload else _read(text)


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def mend(payload: bytes) -> bytes:
    """Return a JSON text in which what no text can hold is replaced."""
    text = payload.removeprefix(_BOM).decode("utf-8", "replace").encode()
    return _LONE_SURROGATE.sub(_REPLACEMENT, text)


def _read(payload: bytes) -> Decoded:
    """Read a JSON text of any shape; ValueError if it is none."""
    if payload.lstrip()[:1] == b"[":
        return _read_batch(payload)
    return _read_message(payload)


def _read_batch(payload: bytes) -> Batch | Malformed:
    if payload.count(b",") > MAX_BATCH_COMMAS:
        return TOO_LARGE
    elements = _split(payload)
    if len(elements) > MAX_BATCH:
        return TOO_LARGE
    return Batch(tuple((_read_message(element), element) for element in elements))


def _read_message(text: bytes | msgspec.Raw) -> Message | Malformed | None:
    try:
        message: Message | Malformed | None = _decode_message(text)
    except msgspec.ValidationError:
        message = _read_loosely(text)
    if isinstance(message, Message) and (
        message.jsonrpc != VERSION or (message.method is None and not _is_response(message))
    ):
        return None
    return message


def _read_loosely(text: bytes | msgspec.Raw) -> Message | Malformed | None:
    """Read a message whose members are not what the specifications make them."""
    try:
        loose = _decode_loose(text)
    except msgspec.ValidationError:  # a number, a string, an array within an array
        return None
    if read_text(loose.jsonrpc) != VERSION:
        return None
    message_id: Id = msgspec.UNSET
    if len(loose.id):
        try:
            message_id = read_id(loose.id)
        except msgspec.ValidationError:  # an object, an array, a number beyond all bounds
            return INVALID_JSON
    method = read_text(loose.method)
    if method is None and not is_absent(loose.method):
        return INVALID_JSON
    return Message(
        VERSION, message_id, method, read_params(loose.params), loose.result, _error(loose.error)
    )


def _error(raw: msgspec.Raw) -> Error | None:
    if is_absent(raw):
        return None
    try:
        return _decode_error(raw)
    except msgspec.ValidationError:
        return Error()
