"""What a recorder's bytes say as HTTP: exchanges, event streams and JSON texts, with their times.

Knows just enough HTTP/1.1 and Server-Sent Events to read what well-behaved programs send, in the
plainest way; does not know JSON-RPC. Raises on anything it does not understand.
"""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.support.tap import Chunk, Recording, Side

EVENT_STREAM = "text/event-stream"
END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Text:
    """A whole body, or the data of one event."""

    at: float
    """When its last byte was there."""
    data: bytes
    event: str = "message"
    in_stream: bool = False


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request and what is there of its answer."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes
    began: float
    asked: float
    """When the request was complete."""
    status: int = 0
    """0 where no answer came."""
    answer_fields: dict[str, str] = field(default_factory=dict)
    answered: float = 0.0
    """When the head of the answer was there."""
    is_stream: bool = False
    texts: list[Text] = field(default_factory=list)
    ended: float | None = None
    """When the answer was complete, or broken; None while it lasts."""
    broken_by: Side | None = None
    """Who closed before the answer was complete."""


class _Bytes:
    """The bytes of one direction, and when each was there."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.data = b"".join(chunk.data for chunk in chunks)
        self.position = 0
        self._marks: list[tuple[int, float]] = []
        end = 0
        for chunk in chunks:
            end += len(chunk.data)
            self._marks.append((end, chunk.at))

    def at(self, position: int) -> float:
        """Return when the byte before a position was there."""
        return next(at for end, at in self._marks if end >= position)

    def take(self, count: int) -> bytes | None:
        """Return the next bytes; None where they are not all there."""
        taken = self.data[self.position : self.position + count]
        if len(taken) < count:
            return None
        self.position += count
        return taken

    def take_until(self, end: bytes) -> bytes | None:
        """Return what comes before some bytes, and go on after them; None without them."""
        found = self.data.find(end, self.position)
        if found < 0:
            return None
        taken = self.data[self.position : found]
        self.position = found + len(end)
        return taken

    def take_head(self) -> tuple[str, dict[str, str]] | None:
        """Return a start line and fields, names in lower case."""
        head = self.take_until(END_OF_HEAD)
        if head is None:
            return None
        start, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        return start, {name.lower(): value.strip() for name, value in pairs}

    def take_pieces(self, fields: dict[str, str]) -> Iterator[tuple[float, bytes] | None]:
        """Yield the pieces of a body with their times, and None once it is complete."""
        if fields.get("transfer-encoding") != "chunked":
            length = int(fields.get("content-length", "0"))
            body = self.take(length)
            if body is not None:
                yield self.at(max(self.position, 1)), body
                yield None
            return
        while (line := self.take_until(b"\r\n")) is not None:
            size = int(line, 16)
            piece = self.take(size)
            if piece is None or self.take(2) is None:
                return
            if not size:
                yield None
                return
            yield self.at(self.position), piece


def read_exchanges(recording: Recording) -> list[Exchange]:
    """Return the exchanges of one connection that were asked for."""
    requests = _Bytes(recording.sent[Side.CLIENT])
    answers = _Bytes(recording.sent[Side.SERVER])
    exchanges = []
    while requests.position < len(requests.data):
        exchange = _read_request(requests)
        if exchange is None:
            break
        _read_answer(answers, exchange)
        if exchange.ended is None and recording.ended is not None:
            exchange.ended = recording.ended
            exchange.broken_by = recording.closed_by
        exchanges.append(exchange)
    return exchanges


def _read_request(requests: _Bytes) -> Exchange | None:
    began = requests.at(requests.position + 1)
    head = requests.take_head()
    if head is None:
        return None
    pieces = list(requests.take_pieces(head[1]))
    if not pieces or pieces.pop() is not None:
        return None
    method, target, _ = head[0].split(" ")
    return Exchange(
        method=method,
        target=target,
        fields=head[1],
        body=b"".join(piece[1] for piece in pieces if piece is not None),
        began=began,
        asked=requests.at(requests.position),
    )


def _read_answer(answers: _Bytes, exchange: Exchange) -> None:
    head = answers.take_head()
    if head is None:
        return
    exchange.status = int(head[0].split(" ")[1])
    exchange.answer_fields = fields = head[1]
    exchange.answered = answers.at(answers.position)
    exchange.is_stream = fields.get("content-type", "").startswith(EVENT_STREAM)
    pending = b""
    for piece in answers.take_pieces(fields):
        if piece is None:
            exchange.ended = answers.at(answers.position)
            if pending:
                exchange.texts.append(_decode(exchange, pending))
            return
        at, data = piece
        pending += data
        if exchange.is_stream:
            *events, pending = pending.replace(b"\r\n", b"\n").split(b"\n\n")
            exchange.texts += [text for event in events for text in _read_event(event, at)]


def _decode(exchange: Exchange, body: bytes) -> Text:
    coding = exchange.answer_fields.get("content-encoding", "identity")
    assert coding in {"identity", "gzip"}
    assert exchange.ended is not None
    return Text(exchange.ended, gzip.decompress(body) if coding == "gzip" else body)


def _read_event(event: bytes, at: float) -> Iterator[Text]:
    """Yield an event; comments alone make none (WHATWG HTML section 9.2.6)."""
    pairs = [line.split(b":", 1) for line in event.split(b"\n") if b":" in line]
    fields = {name: value.removeprefix(b" ") for name, value in pairs}
    assert len(fields) == len(pairs), "a field came twice"
    if b"data" in fields:
        yield Text(at, fields[b"data"], fields.get(b"event", b"message").decode(), in_stream=True)
