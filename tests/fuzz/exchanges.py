"""Conversations: the same events and figures however their bytes are cut, and nothing left behind.

An input is a sequence of requests and answers, in turn, with a line of ``=====`` between them. Each
has a first line, fields, an empty line and a body. The first line of an answer is a status and how
the exchange ends: `Abort`, ``later`` (with the input), or properly. Three fields are not for the
inspector: ``x-wait`` lets seconds pass, ``x-coding`` compresses the body, and ``x-limit`` bounds
what is read.
"""

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from mcp_proxy_exporter.observe.metrics import Metrics, MetricsOptions, ServerMetrics
from mcp_proxy_exporter.protocol import Abort, Event, Inspector, Limits
from mcp_proxy_exporter.protocol.inspector import AnyInspector
from tests.fuzz.corpus import EVENT_TOKENS, FIELD_TOKENS, JSON_TOKENS, captures
from tests.fuzz.cuts import cut
from tests.fuzz.hunt import Check, Target
from tests.support.books import Books
from tests.support.capture_file import names
from tests.support.holdings import holdings
from tests.support.inspection import plain

_BETWEEN = b"\n=====\n"
_MAX_MESSAGES = 40
_MAX_BODY = 1_500
_MAX_WAIT = 10_000.0
_LIMIT = 65_536
_BUFFERED = 1 << 24
_COMPARED = 10
"""Runs of which the figures are compared once, at the first and then at the end of so many."""
_FAR = 1e6
"""Seconds after which nothing is waited for any more."""
_FIELDS = {
    b"content-type", b"content-encoding", b"mcp-session-id", b"mcp-protocol-version", b"mcp-method",
    b"mcp-name", b"last-event-id", b"traceparent",
}  # fmt: skip
_ENCODERS: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"gzip": lambda body: gzip.compress(body, 1, mtime=0),
    b"deflate": lambda body: zlib.compress(body, 1),
}
_TOKENS = (
    *JSON_TOKENS, *EVENT_TOKENS, *FIELD_TOKENS, _BETWEEN, b"\n\n", b"200 ok", b"202 ok", b"404 ok",
    b"400 ok", b"302 ok", b"500 ok", b"200 later", b"200 client_gone", b"200 upstream_closed",
    b"0 upstream_unreachable", b"200 fault", b"200 shutdown", b"POST /mcp", b"GET /mcp",
    b"GET /sse", b"POST /m?s=1", b"DELETE /mcp", b"x-wait: 100", b"x-wait: 5000", b"x-coding: gzip",
    b"x-coding: deflate", b"x-limit: 300", b"event: endpoint\ndata: /m?s=1\n\n",
)  # fmt: skip
_ABORTS = {str(abort.value).encode(): abort for abort in Abort}


@dataclass(frozen=True, slots=True)
class Part:
    """A request or an answer."""

    start: list[bytes]
    fields: dict[bytes, bytes]
    body: bytes
    wait: float


@dataclass(slots=True)
class Late:
    """An exchange that ends after the others, and what it has still to say."""

    tap: AnyInspector
    rest: bytes


class Passage:
    """One inspector, what passes through it, and what it says."""

    def __init__(
        self, limit: int, sink: Callable[[Event], None], pieces: Callable[..., Sequence[bytes]]
    ) -> None:
        limits = Limits(max_message_bytes=limit, max_buffered_bytes=_BUFFERED, max_open_calls=50)
        self.inspector = Inspector(limits, lambda _name: True)
        self.events: list[Event] = []
        self.now = 0.0
        self.late: list[Late] = []
        self._books = Books()
        self._sink = sink
        self._cut = pieces

    def run(self, parts: Sequence[Part], *, at_once: bool = False) -> "Passage":
        """Let everything pass, then end it."""
        for number in range(0, len(parts), 2):
            request = parts[number]
            answer = parts[number + 1] if number + 1 < len(parts) else None
            self._pass(request, answer, at_once=at_once)
        for late in self.late:
            for piece in self._cut(late.rest):
                self.note(late.tap.response_data(piece, self.now))
            self.note(late.tap.response_end(self.now))
        self.now += 1.0
        self.note(self.inspector.close(self.now))
        for _ in range(2):
            self.now += _FAR
            self.note(self.inspector.sweep(self.now))
        return self

    def note(self, events: Sequence[Event]) -> None:
        """Take what is said."""
        self._books.enter(events)
        self.events += events
        for event in events:
            self._sink(event)
        assert 0 <= self.inspector.buffers.used <= _BUFFERED

    def check_end(self) -> None:
        """Prove that everything has ended and nothing is held."""
        books = self._books
        assert (books.calls, books.tasks, books.sessions) == ({}, {}, 0)
        assert not +books.streams
        held = holdings(self.inspector)
        held.pop(".state.catalog._unfinished", None)  # who lists tools and stops leaves a place
        assert held == {}

    def _pass(self, request: Part, answer: Part | None, *, at_once: bool) -> None:
        self.now += 1.0 + request.wait
        self.note(self.inspector.sweep(self.now))
        method, target = request.start[0], request.start[1]
        tap = self.inspector.open(method, target, request.fields)
        if tap is None:
            return
        if at_once and request.body:
            self.note(tap.request(request.body, self.now))
        else:
            for piece in self._cut(request.body):
                self.note(tap.request_data(piece, self.now))
            self.note(tap.request_end(self.now))
        self.now += 0.25
        if answer is None:
            self.note(tap.aborted(Abort.UPSTREAM_CLOSED, self.now))
            return
        status = int(answer.start[0][:3]) if answer.start[0].isdigit() else 0
        self._answer(tap, status, answer, at_once=at_once)

    def _answer(self, tap: AnyInspector, status: int, answer: Part, *, at_once: bool) -> None:
        end, body = answer.start[1], answer.body
        if at_once and status and end not in _ABORTS and end != b"later":
            self.note(tap.response(status, answer.fields, body, self.now + answer.wait))
            self.now += answer.wait
            return
        rest = b""
        self.now += answer.wait
        if status:
            if end == b"later":
                body, rest = body[: len(body) // 2], body[len(body) // 2 :]
            self.note(tap.response_head(status, answer.fields, self.now))
            for piece in self._cut(body):
                self.note(tap.response_data(piece, self.now))
        if end == b"later" and status:
            self.late.append(Late(tap, rest))
        elif end in _ABORTS or not status:
            self.note(tap.aborted(_ABORTS.get(end, Abort.UPSTREAM_CLOSED), self.now))
        else:
            self.note(tap.response_end(self.now))


def begin() -> Check:
    """Begin a life, whose figures grow from run to run."""
    whole_figures, cut_figures, once_figures = (Figures() for _ in range(3))
    runs = count()

    def check(data: bytes) -> None:
        parts, limit = _read(data)
        whole = Passage(limit, whole_figures.handle, _keep).run(parts)
        expected = plain(whole.events)
        in_pieces = Passage(limit, cut_figures.handle, cut).run(parts)
        assert plain(in_pieces.events) == expected
        in_pieces.check_end()
        at_once = Passage(limit, once_figures.handle, _keep).run(parts, at_once=True)
        assert plain(at_once.events) == expected
        # They only grow, so that a difference stays; to read them costs more than the rest.
        if next(runs) % _COMPARED == 0:
            assert whole_figures.show() == cut_figures.show() == once_figures.show()

    return check


class Figures:
    """The metrics of one server."""

    def __init__(self) -> None:
        options = MetricsOptions(wall_clock=lambda: 0.0, monotonic_clock=lambda: 0.0)
        self._metrics = Metrics(options)
        self._server: ServerMetrics = self._metrics.server("s")
        self.handle = self._server.handle

    def show(self) -> list[bytes]:
        """Return all sample lines."""
        return [series.lines() for held in self._metrics.store for series in held.series()]


def _keep(data: bytes) -> Sequence[bytes]:
    return [data] if data else []


def _read(data: bytes) -> tuple[list[Part], int]:
    """Read an input; whatever it is, it is one."""
    parts = [_read_part(text) for text in data.split(_BETWEEN)[:_MAX_MESSAGES]]
    limit = parts[0].fields.get(b"x-limit", b"")
    if not limit.isdigit() or any(b"content-encoding" in part.fields for part in parts):
        return parts, _LIMIT  # of what is compressed, each piece may be as long as the limit
    return parts, max(int(limit[:5]), 50)


def _read_part(text: bytes) -> Part:
    head, _, body = text.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name.strip().lower()] = value.strip()
    wait = fields.get(b"x-wait", b"")
    encode = _ENCODERS.get(fields.get(b"x-coding", b""))
    if encode is not None:
        body = encode(body)
        fields[b"content-encoding"] = fields[b"x-coding"]
    start = [*first.split(b" ", 1), b"", b""][:2]
    return Part(start, fields, body, min(float(wait[:6]), _MAX_WAIT) if wait.isdigit() else 0.0)


def _seeds() -> list[bytes]:
    """Write the recorded conversations as inputs: whole, and every exchange by itself."""
    together: dict[str, list[bytes]] = {}
    for name, capture in zip(names(), captures(), strict=True):
        request, response = capture.request, capture.response
        texts = together.setdefault(name.partition("/")[0], [])
        texts.append(_write(b" ".join(request.start[:2]), request.fields, capture.request_body))
        if response is None:
            texts.append(b"0 client_gone\n\n")
        else:
            end = b"ok" if capture.end == "response complete" else b"client_gone"
            start = b"%b %b" % (response.start[1], end)
            texts.append(_write(start, response.fields, capture.response_body))
    singles = [
        _BETWEEN.join(texts[n : n + 2])
        for texts in together.values()
        for n in range(0, len(texts), 2)
    ]
    starts = [_BETWEEN.join(texts[n : n + 6]) for texts in together.values() for n in (0, 6, 12)]
    wholes = [_BETWEEN.join(texts) for texts in together.values()]
    limited = [single.replace(b"\n", b"\nx-limit: 200\n", 1) for single in singles[::4]]
    coded = [single.replace(b"\n", b"\nx-coding: gzip\n", 1) for single in singles[::6]]
    return [*singles, *starts * 2, *wholes, *limited, *coded]


def _write(start: bytes, fields: Mapping[bytes, bytes], body: bytes) -> bytes:
    lines = [b"%b: %b\n" % (name, value) for name, value in fields.items() if name in _FIELDS]
    return b"%b\n%b\n%b" % (start, b"".join(lines), body[:_MAX_BODY])


TARGET = Target("exchanges", 130_000, _seeds, _TOKENS, begin)
