"""JSON texts out of HTTP bodies: one per JSON body, one per message event of an event stream.

Knows media types and the bounds of what is held; does not know JSON-RPC. What
cannot be read is reported in its place as `Malformed`. A JSON body is then over for inspection;
an event stream goes on with its next event, unless its coding is broken.
"""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Final, TypeAlias

import msgspec

from mcp_proxy_exporter.protocol.jsonrpc import TOO_LARGE, Malformed
from mcp_proxy_exporter.protocol.limits import Budget, Limits
from mcp_proxy_exporter.protocol.sse import EventStreamDecoder, Retry
from mcp_proxy_exporter.protocol.unpacking import Unpacker, open_unpacker

Text: TypeAlias = bytes | bytearray
"""One JSON text, of UTF-8 and JSON unproved."""

# WHATWG HTML 9.2.6: an event without a type is a message. MCP has no other type that holds
# JSON-RPC; "endpoint" (2024-11-05), "ping" and the like are none.
_MESSAGE_TYPES: Final = (b"", b"message")
# There is one; who sends more has not sent a usable one yet. A target longer than servers accept is
# no address.
_MAX_ENDPOINTS: Final = 4
_MAX_ENDPOINT: Final = 8_192
_JSON_BEGINNINGS: Final = (b"{", b"[")


class Media(Enum):
    """What a media type promises."""

    JSON = auto()
    EVENT_STREAM = auto()
    FORM = auto()
    """A web form: never JSON, and often a large upload."""
    OTHER = auto()


_MEDIA: Final[Mapping[bytes, Media]] = {
    b"application/json": Media.JSON,
    b"text/event-stream": Media.EVENT_STREAM,
    b"text/json": Media.JSON,
    b"application/json-rpc": Media.JSON,
    b"application/x-www-form-urlencoded": Media.FORM,
}


def media_of(content_type: bytes) -> Media:
    """Classify a ``Content-Type`` field (RFC 9110 section 8.3)."""
    media = _MEDIA.get(content_type)
    if media is not None:
        return media
    essence = content_type.partition(b";")[0].strip().lower()
    if essence.endswith(b"+json"):  # RFC 6839
        return Media.JSON
    if essence.startswith(b"multipart/"):
        return Media.FORM
    return _MEDIA.get(essence, Media.OTHER)


class JsonBody(msgspec.Struct, eq=False, gc=False):
    """A body that holds one JSON text, known when it is whole.

    An undeclared one may hold anything. Unless it begins like an object or an array it is let
    pass, and nothing that is wrong with it is worth a report.
    """

    _limit: int
    _budget: Budget
    _unpacker: Unpacker | None
    declared: bool
    """Its media type promises JSON."""
    _held: Text | None = None
    _begun: bool = False
    _stopped: bool = False

    def feed(self, data: bytes) -> Sequence[Malformed]:
        """Take the next bytes; give a report if the body cannot be read."""
        if self._stopped or not data:
            return ()
        held = self._held
        room = self._limit if held is None else self._limit - len(held)
        if self._unpacker is not None:
            decoded = self._unpacker.unpack(data, room)
            if isinstance(decoded, Malformed):
                return self._stop(decoded)
            data = decoded
        size = len(data)
        if size > room or not self._budget.take(size):
            return self._stop(TOO_LARGE)
        if held is None:
            self._held = data
        else:
            self._held = joined = held if type(held) is bytearray else bytearray(held)
            joined += data
        if not (self.declared or self._begun):
            self._begin(data)
        return ()

    def finish(self) -> Text | None:
        """End the body: hand its text over."""
        text = self._held
        self.close()
        return text

    def close(self) -> None:
        """Free what is held."""
        if self._held is not None:
            self._budget.give(len(self._held))
            self._held = None
        if self._unpacker is not None:
            self._unpacker.close()

    def _begin(self, data: bytes) -> None:
        beginning = data.lstrip()[:1]
        if beginning:
            self._begun = True
            if beginning not in _JSON_BEGINNINGS:
                self.close()
                self._stopped = True

    def _stop(self, problem: Malformed) -> Sequence[Malformed]:
        self.close()
        self._stopped = True
        return (problem,) if self.declared else ()


class EventStreamBody(msgspec.Struct, eq=False, gc=False):
    """A body of server-sent events, each message known at its end."""

    _limit: int
    _budget: Budget
    _unpacker: Unpacker | None
    _decoder: EventStreamDecoder
    _held: int = 0
    stopped: bool = False
    """Its coding cannot be taken off: nothing more can be read."""
    seen: int = 0
    """Events that passed, of any type."""
    endpoints: list[bytes] = []
    """The data of the first ``endpoint`` events (HTTP+SSE, 2024-11-05)."""

    @property
    def event_ids(self) -> Sequence[bytes]:
        """The last places that a client may resume from."""
        return self._decoder.event_ids

    @property
    def retry(self) -> Retry:
        """How long the client is asked to wait before it resumes."""
        return self._decoder.retry

    @property
    def unfinished(self) -> bool:
        """Whether not all was looked at that came."""
        return self._unpacker is not None and self._unpacker.unfinished

    @property
    def resumable(self) -> bool:
        """Whether the client could resume: events had ids (2025-03-26 … 2025-11-25)."""
        return bool(self._decoder.last_event_id)

    def feed(self, data: bytes) -> Sequence[Text | Malformed]:
        """Take the next bytes; give the texts and reports that they complete.

        Of a compressed stream that is a part only: no bytes give the next one, while `unfinished`.
        """
        if self._unpacker is not None:
            if self.stopped:
                return ()
            decoded = self._unpacker.unpack_part(data, self._limit)
            if isinstance(decoded, Malformed):
                self.close()
                self.stopped = True
                return (decoded,)
            data = decoded
        events = self._decoder.feed(data)
        held = self._decoder.buffered
        if held != self._held:
            self._settle(held)
        if not events:
            return ()
        self.seen += len(events)
        texts: list[Text | Malformed] = []
        for event in events:
            text = event.data
            if event.type in _MESSAGE_TYPES:
                if text != b"":
                    texts.append(TOO_LARGE if text is None else text)
            elif event.type == b"endpoint" and text and len(self.endpoints) < _MAX_ENDPOINTS:
                self.endpoints.append(bytes(text[:_MAX_ENDPOINT]))
        return texts

    def finish(self) -> None:
        """End the body: an event without its blank line never happened (WHATWG HTML 9.2.6)."""
        self.close()

    def close(self) -> None:
        """Free what is held."""
        if self._held:
            self._decoder.drop()
            self._settle(0)
        if self._unpacker is not None:
            self._unpacker.close()

    def _settle(self, held: int) -> None:
        """Bring the budget to what the decoder holds, or the decoder to what the budget allows."""
        growth = held - self._held
        if growth < 0:
            self._budget.give(-growth)
        elif growth > 0 and not self._budget.take(growth):
            self._decoder.drop()
            self._budget.give(self._held)
            held = 0
        self._held = held


def open_json(limits: Limits, budget: Budget, coding: bytes | None, media: Media) -> JsonBody:
    """Begin a body of a declared or of any other media type."""
    unpacker = None if coding is None else open_unpacker(coding, budget)
    return JsonBody(limits.max_message_bytes, budget, unpacker, media is Media.JSON)


def open_event_stream(limits: Limits, budget: Budget, coding: bytes | None) -> EventStreamBody:
    """Begin an event stream."""
    limit = limits.max_message_bytes
    unpacker = None if coding is None else open_unpacker(coding, budget)
    return EventStreamBody(limit, budget, unpacker, EventStreamDecoder(limit))
