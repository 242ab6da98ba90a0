"""What is said in the cells of the fault matrix: requests, answers, and answers up to their break.

Knows HTTP/1.1 and one tool; does not know what breaks (`fault_table`) or who sends it.
"""

import gzip
from dataclasses import dataclass
from enum import StrEnum

from tests.support.messages import chunk

TOOL = "nap"
_CALL = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"nap","arguments":{}}}'
_RESULT = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[]}}'
_NOTE = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}\n\n'
WARM_UP, FAULTY, GOOD = 10, 11, 12
"""The JSON-RPC ids of the calls of one cell, in their order."""

JSON_TYPE = b"Content-Type: application/json"
EVENTS_TYPE = b"Content-Type: text/event-stream"
TEXT_TYPE = b"Content-Type: text/plain"
GZIP = b"Content-Encoding: gzip"
_FIELDS = (JSON_TYPE, b"Accept: application/json, text/event-stream")


class Request(StrEnum):
    """What a client sends."""

    CALL = "call"
    """A small POST of tools/call, in one write."""
    UPLOAD = "upload"
    """The same call in two pieces; whatever happens does so between them."""
    STREAM = "stream"
    """A GET that is answered by an event stream."""
    DELETE = "delete"


class Answer(StrEnum):
    """What kind of answer the upstream gives, or was about to give."""

    NONE = "none"
    """None at all, or one whose kind makes no difference."""
    JSON = "json"
    EVENTS = "events"
    TEXT = "text"


CALLS = frozenset({Request.CALL, Request.UPLOAD})


@dataclass(frozen=True, slots=True)
class Payload:
    """The body of a good answer, and where it can break."""

    content_type: bytes
    whole: bytes
    event: int
    """Where its first event ends; 0 where it has none."""


def make_payload(request: Request, answer: Answer) -> Payload:
    """Make the body that a request is answered with."""
    result = _RESULT % FAULTY
    if answer is Answer.EVENTS:
        last = b"data: %b\n\n" % result if request in CALLS else _NOTE
        return Payload(EVENTS_TYPE, _NOTE + last, len(_NOTE))
    if answer is Answer.TEXT:
        return Payload(TEXT_TYPE, b"so it is", 0)
    return Payload(JSON_TYPE, result if request in CALLS else b'{"done":true}', 0)


def name_events(events: bytes) -> bytes:
    """Give each event an id, by which its client may resume."""
    return events.replace(b"data:", b"id: 7\ndata:")


def make_request(request: Request, number: int, host: bytes) -> tuple[bytes, ...]:
    """Make a request in the pieces in which it is sent; ``number`` is the id of its call."""
    common = b"/mcp HTTP/1.1\r\nHost: " + host + b"\r\n"
    if request is Request.STREAM:
        return (b"GET " + common + b"Accept: text/event-stream\r\n\r\n",)
    if request is Request.DELETE:
        return (b"DELETE " + common + b"\r\n",)
    body = _CALL % number
    fields = b"\r\n".join((*_FIELDS, b"Content-Length: %d" % len(body)))
    head = b"POST " + common + fields + b"\r\n\r\n"
    return (head + body[:20], body[20:]) if request is Request.UPLOAD else (head + body,)


def make_result(number: int) -> bytes:
    """Make the good answer to a call, with its head."""
    return with_length(_RESULT % number, JSON_TYPE)


def make_head(*fields: bytes, status: bytes = b"200 OK") -> bytes:
    """Make the head of an answer."""
    return b"\r\n".join((b"HTTP/1.1 " + status, *fields)) + b"\r\n\r\n"


def with_length(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """Make an answer with a Content-Length."""
    return make_head(*fields, b"Content-Length: %d" % len(body), status=status) + body


def in_chunks(*pieces: bytes, fields: tuple[bytes, ...]) -> bytes:
    """Make the beginning of an answer in the chunked coding; a last chunk would end it."""
    head = make_head(*fields, b"Transfer-Encoding: chunked")
    return head + b"".join(map(chunk, pieces))


def pack(body: bytes) -> bytes:
    """Compress a body."""
    return gzip.compress(body, mtime=0)
