"""Answers of an upstream that are malformed, ambiguous or merely odd, and what becomes of them.

Knows the bytes on both sides; does not know how they get there. Sizes are in excess of the default
limits, unless a row says that it is within them.
"""

from dataclasses import dataclass

H = b"HTTP/1.1 200 OK\r\n"
ASKED = b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
LENGTH = b"Content-Length: 2\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"
GOOD = H + LENGTH + b"\r\nok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer and its verdict."""

    sent: bytes
    arrives: bytes = b""
    """What the client gets; empty where that is a 502."""
    asked: bytes = ASKED
    closes: bool = False
    """The upstream closes after it."""
    cut: bool = False
    """The client's connection ends there, and no end of the message comes."""
    ends: bool = False
    """The client's connection ends, as the message does."""


def bad(sent: bytes, *, closes: bool = False) -> Answer:
    """Not passed on: 502."""
    return Answer(sent=sent, closes=closes)


def kept(sent: bytes, arrives: bytes = b"", *, asked: bytes = ASKED) -> Answer:
    """Passed on, to the byte as it was sent unless told otherwise."""
    return Answer(sent=sent, arrives=arrives or sent, asked=asked)


def cut(sent: bytes, arrives: bytes, *, closes: bool = False) -> Answer:
    """Passed on as far as it was good; RFC 9112 section 8: never taken for whole."""
    return Answer(sent=sent, arrives=arrives, closes=closes, cut=True)


def _field(line: bytes) -> Answer:
    return bad(H + line + b"\r\n" + LENGTH + b"\r\nok")


def _length(value: bytes) -> Answer:
    return bad(H + b"Content-Length:" + value + b"\r\n\r\nok")


def _coding(value: bytes) -> Answer:
    return bad(H + b"Transfer-Encoding:" + value + b"\r\n\r\n" + CHUNKS)


def _chunk(line: bytes) -> Answer:
    return cut(H + CHUNKED + b"\r\n2\r\nok\r\n" + line, H + CHUNKED + b"\r\n2\r\nok\r\n")


ANSWERS: dict[str, Answer] = {
    # Status lines (RFC 9112 section 4)
    "no status": bad(b"HTTP/1.1\r\n\r\n"),
    "two spaces before the status": bad(b"HTTP/1.1  200 OK\r\n\r\n"),
    "a tab before the status": bad(b"HTTP/1.1\t200 OK\r\n\r\n"),
    "four digits": bad(b"HTTP/1.1 2000 OK\r\n\r\n"),
    "a status with a sign": bad(b"HTTP/1.1 +20 OK\r\n\r\n"),
    "a status of zero": bad(b"HTTP/1.1 000 OK\r\n\r\n"),
    "a lower-case version": bad(b"http/1.1 200 OK\r\n\r\n"),
    "version 1.10": bad(b"HTTP/1.10 200 OK\r\n\r\n"),
    "version 2": bad(b"HTTP/2.0 200 OK\r\n\r\n"),
    "another protocol": bad(b"ICY 200 OK\r\n\r\n"),
    "a space first": bad(b" HTTP/1.1 200 OK\r\n\r\n"),
    "an empty line first": bad(b"\r\n" + GOOD),
    "a NUL in the reason": bad(b"HTTP/1.1 200 \x00\r\n\r\n"),
    "a bare CR in the reason": bad(b"HTTP/1.1 200 O\rK\r\n" + LENGTH + b"\r\nok"),
    "bare LF": bad(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    # RFC 9110 section 15: to be treated as 5xx by who reads it.
    "a status beyond 599": kept(b"HTTP/1.1 799 Odd\r\n" + LENGTH + b"\r\nok"),
    "a reason in Latin-1": kept(b"HTTP/1.1 200 Sch\xf6n\r\n" + LENGTH + b"\r\nok"),
    "an empty reason": kept(b"HTTP/1.1 200 \r\n" + LENGTH + b"\r\nok"),
    # Fields (RFC 9112 section 5, RFC 9110 section 5.5)
    "NUL in a value": _field(b"A: b\x00c"),
    "bare CR in a value": _field(b"A: b\rc"),
    "bare LF in a value": _field(b"A: b\nc"),
    "another control in a value": _field(b"A: \x0b"),
    "obs-fold": _field(b"A: b\r\n c"),
    "a blank before the colon": _field(b"A : b"),
    "a folded first line": _field(b" A: b"),
    "no colon": _field(b"A"),
    "no name": _field(b": b"),
    "a separator in a name": _field(b"A[1]: b"),
    "a name that is no ASCII": _field(b"\xc3\xa4: b"),
    "a value that is no UTF-8": kept(H + b"A: \xff\xfe\x80\r\n" + LENGTH + b"\r\nok"),
    "equal names": kept(H + b"Set-Cookie: a=b\r\nX: y\r\nset-cookie: a=b\r\n" + LENGTH + b"\r\nok"),
    "20 kB of head": kept(H + b"A: " + b"b" * 20_000 + b"\r\n" + LENGTH + b"\r\nok"),
    "100 kB of head": _field(b"A: " + b"b" * 100_000),
    "100 kB of reason": bad(b"HTTP/1.1 200 " + b"a" * 100_000),
    "a thousand fields": _field(b"\r\n".join([b"A: b"] * 1000)),
    # Lengths (RFC 9112 section 6.3: a proxy MUST answer 502)
    "length and chunked": bad(H + LENGTH + CHUNKED + b"\r\n" + CHUNKS),
    "chunked and length": bad(H + CHUNKED + LENGTH + b"\r\n" + CHUNKS),
    "two lengths": _length(b" 2\r\nContent-Length: 3"),
    "two equal lengths": _length(b" 2\r\nContent-Length: 2"),
    "a list of lengths": _length(b" 2, 2"),
    "an empty length": _length(b""),
    "a length with a sign": _length(b" +2"),
    "a negative length": _length(b" -2"),
    "a hexadecimal length": _length(b" 0x2"),
    "a length in words": _length(b" two"),
    "a length beyond 64 bits": _length(b" 36893488147419103234"),
    "gzip": _coding(b" gzip"),
    "gzip, chunked": _coding(b" gzip, chunked"),
    "chunked, gzip": _coding(b" chunked, gzip"),
    "chunked twice": _coding(b" chunked, chunked"),
    "two lines of codings": _coding(b" chunked\r\nTransfer-Encoding: chunked"),
    "identity": _coding(b" identity"),
    "xchunked": _coding(b" xchunked"),
    "a coding behind a vertical tab": _coding(b" \x0bchunked"),
    # RFC 9112 section 6.1: MUST be treated as faulty.
    "a coding in HTTP/1.0": bad(b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n" + CHUNKS),
    # Bodies that go wrong when their heads are out
    "a chunk size beyond 64 bits": _chunk(b"10000000000000002\r\nok\r\n"),
    "a negative chunk size": _chunk(b"-2\r\nok\r\n"),
    "a chunk size with 0x": _chunk(b"0x2\r\nok\r\n"),
    "a chunk size and a blank": _chunk(b"2 \r\nok\r\n"),
    "a chunk extension that is none": _chunk(b"2;\r\nok\r\n"),
    "bare LF behind a chunk size": _chunk(b"2\nok\r\n"),
    "a trailer without a colon": _chunk(b"0\r\nA\r\n\r\n"),
    "no last chunk": Answer(
        sent=H + CHUNKED + b"\r\n2\r\nok\r\n",
        arrives=H + CHUNKED + b"\r\n2\r\nok\r\n",
        closes=True,
        cut=True,
    ),
    "less than its length": cut(
        H + b"Content-Length: 3\r\n\r\nok", H + b"Content-Length: 3\r\n\r\nok", closes=True
    ),
    "half a head": bad(H + b"Content-", closes=True),
    "nothing": bad(b"", closes=True),
    # Extra bytes: dropped with their connection (RFC 9112 section 9.2)
    "an answer that nobody asked for": kept(GOOD + EVIL, GOOD),
    "a line end too many": kept(GOOD + b"\r\n", GOOD),
    "a chunked one and another answer": kept(
        H + CHUNKED + b"\r\n" + CHUNKS + EVIL, H + CHUNKED + b"\r\n" + CHUNKS
    ),
    "a body where there is none": kept(
        b"HTTP/1.1 204 No Content\r\n\r\nevil", b"HTTP/1.1 204 No Content\r\n\r\n"
    ),
    # Interim answers (RFC 9110 section 15.2)
    "100": kept(b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD),
    "102, 103 and 199": kept(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 199 Odd\r\n\r\n" + GOOD
    ),
    "an interim one with a length": kept(
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n" + GOOD
    ),
    "100 for HTTP/1.0": Answer(
        sent=b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD,
        arrives=H + LENGTH + b"Connection: close\r\n\r\nok",
        asked=OLD,
        ends=True,
    ),
    "101": bad(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
    "garbage behind 100": bad(b"HTTP/1.1 100 Continue\r\n\r\nok"),
    "nothing behind 100": bad(b"HTTP/1.1 100 Continue\r\n\r\n", closes=True),
    # No body, whatever the head says (RFC 9112 section 6.3, rule 1)
    "204 with a length": kept(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
    "204 with a coding": kept(
        b"HTTP/1.1 204 No Content\r\n" + CHUNKED + b"\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"
    ),
    "304 with a length": kept(b"HTTP/1.1 304 Not Modified\r\n" + LENGTH + b"\r\n", asked=GET),
    "202 without a body": kept(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"),
    "HEAD with a length": kept(H + LENGTH + b"\r\n", asked=HEAD),
    "HEAD with a coding": kept(H + CHUNKED + b"\r\n", H + b"\r\n", asked=HEAD),
    "HEAD without either": kept(H + b"\r\n", asked=HEAD),
    # What belongs to one connection (RFC 9110 section 7.6.1)
    "every hop-by-hop field": kept(
        H + b"Connection: keep-alive, X-Mine\r\nKeep-Alive: 5\r\nX-Mine: a\r\nUpgrade: h2c\r\n"
        b"Proxy-Connection: close\r\nTE: b\r\nA: b\r\n" + LENGTH + b"\r\nok",
        H + b"A: b\r\n" + LENGTH + b"\r\nok",
    ),
    "a nominated length": kept(
        H
        + b"Connection: content-length, mcp-session-id\r\nMcp-Session-Id: 1\r\n"
        + LENGTH
        + b"\r\nok",
        H + b"Mcp-Session-Id: 1\r\n" + LENGTH + b"\r\nok",
    ),
    "until close": Answer(sent=H + b"\r\nok", arrives=H + CHUNKED + b"\r\n" + CHUNKS, closes=True),
    "until close for HTTP/1.0": Answer(
        sent=H + b"\r\nok",
        arrives=H + b"Connection: close\r\n\r\nok",
        asked=OLD,
        closes=True,
        ends=True,
    ),
    "chunked for HTTP/1.0": Answer(
        sent=H + CHUNKED + b"\r\n" + CHUNKS,
        arrives=H + b"Connection: close\r\n\r\nok",
        asked=OLD,
        ends=True,
    ),
    "trailers": kept(
        H + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"X-Sum: 1\r\nContent-Length: 9\r\n\r\n",
        H + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"X-Sum: 1\r\n\r\n",
    ),
}
