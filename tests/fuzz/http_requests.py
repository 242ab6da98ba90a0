"""Requests: the same ones, and the same refusal, however cut; two other parsers read the same."""

import re
from collections.abc import Sequence
from contextlib import suppress

import h11
import httptools

from mcp_proxy_exporter.proxy.admission import check_fields, resolve_target
from mcp_proxy_exporter.proxy.errors import Rejected
from mcp_proxy_exporter.proxy.headers import forward_request
from mcp_proxy_exporter.proxy.heads import CHUNKED, KnownHeads, RequestHead
from mcp_proxy_exporter.proxy.wire import RequestReader
from tests.fuzz.corpus import HTTP_TOKENS, raw_requests
from tests.fuzz.cuts import cut
from tests.fuzz.hunt import Check, Target
from tests.fuzz.mutation import Random
from tests.properties.test_smuggling import read_with_h11, read_with_llhttp

MAX_HEAD = 1_024
MAX_FIELDS = 32
UNREADABLE = frozenset({400, 414, 431, 505})
"""The refusals of what is no head. Of several reasons, the one that is seen first is told."""
_MAX_CHUNK_LINE = 4_096
_MAX_TRAILERS = 16_384
_LENGTH = re.compile(rb"(?i)(content-length: *)[0-9]+")


class Forwarding:
    """What the proxy sees of one connection, and what it sends."""

    def __init__(self, known: KnownHeads[RequestHead] | None = None) -> None:
        self.reader = RequestReader(self, MAX_HEAD, MAX_FIELDS, known)
        self.sent = b""
        self.seen: list[tuple[bytes, bytes, bytes]] = []
        self.heads: list[bytes] = []
        self.unfinished = b""
        """What came of the last body before its end."""
        self.refused = 0
        self._head = RequestHead()
        self._target = b""

    def take_request(self, head: RequestHead) -> None:
        """Admit a request and forward its head."""
        self._head = head
        self._target, host = resolve_target(head)
        check_fields(head)
        self.heads.append(forward_request(head, target=self._target, host=host, extra=()))
        self.sent += self.heads[-1]

    def take_body(self, data: bytes) -> None:
        """Forward a piece of a body."""
        assert data
        self.unfinished += data
        self.sent += b"%x\r\n%b\r\n" % (len(data), data) if self._head.length == CHUNKED else data

    def take_end(self, trailers: bytes) -> None:
        """Forward the end of a body."""
        if self._head.length == CHUNKED:
            self.sent += b"0\r\n%b\r\n" % trailers
        self.seen.append((self._head.method, self._target, self.unfinished))
        self.unfinished = b""

    def run(self, pieces: Sequence[bytes]) -> "Forwarding":
        """Take what a client sends, up to what is refused."""
        reader = self.reader
        try:
            for piece in pieces:
                reader.feed(piece)
                while reader.busy and not reader.in_body and reader.resume():
                    pass
                self._check_held()
        except Rejected as error:
            self.refused = error.status
        return self

    @property
    def verdict(self) -> tuple[object, ...]:
        """What came of it, whatever the pieces."""
        return self.seen, self.heads, self.unfinished, bool(self.refused)

    def _check_held(self) -> None:
        if not self.reader.in_body:
            assert self.reader.pending < MAX_HEAD
        chunks = self.reader._chunks
        if chunks is not None:
            assert len(chunks._buffer) <= max(_MAX_CHUNK_LINE, _MAX_TRAILERS) + 1
            assert len(chunks.trailers) <= _MAX_TRAILERS + 2


def begin() -> Check:
    """Begin a life, whose connections share the heads that they know."""
    known = KnownHeads[RequestHead]()

    def check(wire: bytes) -> None:
        pieces = [wire] if wire else []
        whole = Forwarding().run(pieces)
        cut_up = Forwarding().run(cut(wire))
        assert cut_up.verdict == whole.verdict
        assert cut_up.refused == whole.refused or {cut_up.refused, whole.refused} <= UNREADABLE
        assert Forwarding(known).run(pieces).verdict == whole.verdict
        if whole.reader.in_body or whole.unfinished or whole.refused:
            sent = whole.sent[: _find_end(whole)]
        else:
            sent = whole.sent
        # Both are stricter about targets: to refuse is not to read something else.
        with suppress(h11.RemoteProtocolError):
            assert read_with_h11(sent) == whole.seen
        with suppress(httptools.HttpParserInvalidURLError):
            seen, all_known = read_with_llhttp(sent)
            assert seen == (whole.seen if all_known else whole.seen[: len(seen)])

    return check


def _find_end(forwarding: Forwarding) -> int | None:
    """Return where the last request begins that is not whole."""
    if len(forwarding.heads) == len(forwarding.seen):
        return None
    return forwarding.sent.rindex(forwarding.heads[-1])


def finish(rng: Random, wire: bytes) -> bytes:
    """Let the length be right, most often: what follows would not be looked at else."""
    if rng.random() < 0.4:
        return wire
    head, end, body = wire.partition(b"\r\n\r\n")
    return _LENGTH.sub(rb"\g<1>%d" % len(body), head) + end + body


def _seeds() -> list[bytes]:
    requests = raw_requests()
    chunked = [
        b"POST /mcp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        for body in (
            b"5\r\nhello\r\n0\r\n\r\n",
            b'3;x=y\r\n{"a\r\n4\r\n":1}\r\n0\r\nX-Sum: 1\r\n\r\n',
            b"A\r\n0123456789\r\n00\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        )
    ]
    pipelined = [b"".join(requests[n : n + 2]) for n in range(0, len(requests) - 1, 20)] + [
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n\r\n" * 3
    ]
    return [*requests, *chunked * 12, *pipelined]


TARGET = Target("requests", 150_000, _seeds, HTTP_TOKENS, begin, finish)
