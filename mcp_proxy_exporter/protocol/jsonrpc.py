"""JSON-RPC 2.0 messages out of bytes: only the members that somebody needs.

Knows the envelope and the few MCP members of ``params`` and ``error``; does not know which
message answers which, nor what a ``result`` means (it stays raw JSON text). Total on any input:
what is not JSON becomes `Malformed`, what is JSON but not JSON-RPC 2.0 becomes None.

A message is decoded once, into a struct of exact types. Only where a peer broke those types (an
array for ``params``, a number for a name) is it decoded again, member by member.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec

VERSION: Final = "2.0"

# Doubles hold every integer below, so that a number survives a JavaScript peer.
MAX_EXACT_DOUBLE: Final = 2**53

# Messages in one array. The TypeScript SDK accepts 100; ten times that is nobody's habit.
MAX_BATCH: Final = 1_000
# An array is split before its length is known, at about 64 bytes of memory per element; an array
# of n elements holds at least n - 1 commas.
MAX_BATCH_COMMAS: Final = 200_000
# Escaped halves of surrogate pairs in a text that has to be mended, at 0.2 us each.
MAX_SURROGATES: Final = 50_000
# Names and ids are held while a call is open. MCP asks for tool names of at most 128 characters
# (2026-07-28 server/tools, Tool Names), and an id is a counter or a UUID.
MAX_TEXT: Final = 1_024

Id: TypeAlias = int | str | float | bool | msgspec.UnsetType | None
"""A JSON-RPC id; UNSET where the member is absent, which null is not."""
IdKey: TypeAlias = int | str | tuple[type, object] | None
"""An id as a dictionary key. 1, 1.0 and true are three JSON values but one Python key, so all but
integers, strings and null stand in a tuple with their type."""


class Meta(msgspec.Struct, gc=False, frozen=True):
    """``params._meta``."""

    protocol_version: str | None = msgspec.field(
        name="io.modelcontextprotocol/protocolVersion", default=None
    )


class TaskParams(msgspec.Struct, gc=False, frozen=True):
    """``params.task`` (2025-11-25): that it is there is all that matters."""


class Params(msgspec.Struct, gc=False, frozen=True):
    """The members of ``params`` that inspection reads, of whatever method."""

    name: str | None = None
    uri: str | None = None
    cursor: str | None = None
    level: str | None = None
    task_id: str | None = msgspec.field(name="taskId", default=None)
    task: TaskParams | None = None
    meta: Meta | None = msgspec.field(name="_meta", default=None)


class Error(msgspec.Struct, gc=False, frozen=True):
    """``error`` of a response."""

    code: int | float | None = None
    message: str | None = None


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
    """A JSON array: each element with the size of its JSON text."""

    elements: tuple[tuple["Message | Malformed | None", int], ...]


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


class _LooseParams(msgspec.Struct, gc=False, frozen=True):
    """``params`` of whatever types."""

    name: msgspec.Raw = msgspec.Raw(b"")
    uri: msgspec.Raw = msgspec.Raw(b"")
    cursor: msgspec.Raw = msgspec.Raw(b"")
    level: msgspec.Raw = msgspec.Raw(b"")
    task_id: msgspec.Raw = msgspec.field(name="taskId", default=msgspec.Raw(b""))
    task: msgspec.Raw = msgspec.Raw(b"")
    meta: msgspec.Raw = msgspec.field(name="_meta", default=msgspec.Raw(b""))


_decode_message = msgspec.json.Decoder(Message).decode
_decode_loose = msgspec.json.Decoder(_Loose).decode
_decode_loose_params = msgspec.json.Decoder(_LooseParams).decode
_decode_task = msgspec.json.Decoder(TaskParams).decode
_decode_meta = msgspec.json.Decoder(Meta).decode
_decode_error = msgspec.json.Decoder(Error).decode
_decode_id = msgspec.json.Decoder(int | str | float | bool | None).decode
_decode_text = msgspec.json.Decoder(str).decode
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


def id_key(value: Id) -> IdKey:
    """Give the dictionary key of an id."""
    if type(value) is int or value is None:
        return value
    if type(value) is str:
        return value if len(value) <= MAX_TEXT else (str, sha256(value.encode()).digest())
    return type(value), value


def equal_number(key: IdKey) -> IdKey:
    """Give the key of the number that JavaScript cannot tell from this one: of 1, that of 1.0."""
    if type(key) is int:
        # Above, doubles skip integers, and far above there are none.
        return (float, float(key)) if abs(key) < MAX_EXACT_DOUBLE else None
    if type(key) is tuple and type(key[1]) is float and key[1].is_integer():
        return int(key[1])
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
    text = payload.removeprefix(_BOM).decode("utf-8", "replace").encode()
    text = _LONE_SURROGATE.sub(_REPLACEMENT, text)
    return INVALID_JSON if text == payload else _read(text)


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
    return Batch(tuple((_read_message(element), len(element)) for element in elements))


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
    if _text(loose.jsonrpc) != VERSION:
        return None
    message_id: Id = msgspec.UNSET
    if len(loose.id):
        try:
            message_id = _decode_id(loose.id)
        except msgspec.ValidationError:  # an object, an array, a number beyond all bounds
            return INVALID_JSON
    method = _text(loose.method)
    if method is None and not _is_absent(loose.method):
        return INVALID_JSON
    return Message(
        VERSION, message_id, method, _params(loose.params), loose.result, _error(loose.error)
    )


def _params(raw: msgspec.Raw) -> Params | None:
    try:
        loose = _decode_loose_params(raw)
    except msgspec.DecodeError:  # absent, or an array
        return None
    try:
        meta = _decode_meta(loose.meta)
    except msgspec.DecodeError:  # absent, or not as specified
        meta = None
    try:
        task = _decode_task(loose.task)
    except msgspec.DecodeError:
        task = None
    return Params(
        _text(loose.name),
        _text(loose.uri),
        _text(loose.cursor),
        _text(loose.level),
        _text(loose.task_id),
        task,
        meta,
    )


def _error(raw: msgspec.Raw) -> Error | None:
    if _is_absent(raw):
        return None
    try:
        return _decode_error(raw)
    except msgspec.ValidationError:
        return Error()


def _text(raw: msgspec.Raw) -> str | None:
    try:
        return _decode_text(raw)
    except msgspec.DecodeError:
        return None


def _is_absent(raw: msgspec.Raw) -> bool:
    """Tell whether a member is missing or null, which peers use alike."""
    return len(raw) in {0, 4} and bytes(raw) in {b"", b"null"}
