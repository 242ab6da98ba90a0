"""Requests that are no HTTP, too large or never whole, by the ids of Http11Probe.

As in `probe_smuggling`: the ids are that suite's, bytes, words and verdicts are ours. Sizes are in
excess of the default limits.
"""

from tests.support.probe_rows import (
    BODY,
    CHUNKED,
    CHUNKS,
    G,
    P,
    Row,
    passes,
    refused,
    unfinished,
)

_LINE = "SHOULD refuse an invalid request line; RFC 9112 3"
_TARGET = "is no origin-form, SHOULD be refused or passed unread; RFC 9112 3.2"
_LENGTH = "MUST refuse; RFC 9112 6.3 rule 5"
_LARGE = 100_000


def _get(target: bytes) -> bytes:
    return b"GET " + target + G[5:] + b"\r\n"


MALFORMED: dict[str, Row] = {
    # No HTTP
    "MAL-BINARY-GARBAGE": refused(400, _LINE, bytes(range(255, -1, -1))),
    "MAL-H2-PREFACE": refused(
        505, "MAY be 505; RFC 9110 15.6.6", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    ),
    "MAL-WHITESPACE-ONLY-LINE": refused(400, _LINE, b"\t \r\n\r\n"),
    # Never whole
    "MAL-EMPTY-REQUEST": Row(demand="SHOULD close idle ones; RFC 9112 9.5", sent=b"", ends=True),
    "MAL-INCOMPLETE-REQUEST": unfinished("MAY be 408; RFC 9112 9.5", G + b"A: b", begun=False),
    "MAL-POST-CL-HUGE-NO-BODY": unfinished(
        "MUST NOT be taken for whole; RFC 9112 8", P + b"Content-Length: 999999999\r\n\r\n"
    ),
    # Too large
    "MAL-LONG-URL": refused(414, "MUST be 414; RFC 9112 3", _get(b"/" + b"m" * _LARGE)),
    "MAL-LONG-METHOD": refused(414, "SHOULD be 501; RFC 9112 3", b"G" * _LARGE + G + b"\r\n"),
    "MAL-LONG-HEADER-VALUE": refused(
        431, "MUST be 4xx; RFC 9110 5.4", G + b"A: " + b"b" * _LARGE + b"\r\n\r\n"
    ),
    "MAL-LONG-HEADER-NAME": refused(
        431, "MUST be 4xx; RFC 9110 5.4", G + b"A" * _LARGE + b": b\r\n\r\n"
    ),
    "MAL-MANY-HEADERS": refused(
        431,
        "MUST be 4xx; RFC 9110 5.4",
        G + b"".join(b"A-%d: b\r\n" % number for number in range(10_000)) + b"\r\n",
    ),
    "MAL-CHUNK-EXT-64K": refused(
        400, "SHOULD limit; RFC 9112 7.1.1", CHUNKED + b"8;" + b"a" * 65_536 + CHUNKS[1:]
    ),
    "MAL-RANGE-OVERLAPPING": passes(
        "SHOULD be refused by who serves ranges; RFC 9110 14.2",
        G + b"Range: bytes=" + b",".join([b"0-"] * 1000) + b"\r\n\r\n",
    ),
    # Lengths
    "MAL-CL-OVERFLOW": refused(400, _LENGTH, P + b"Content-Length: 36893488147419103240\r\n\r\n"),
    "MAL-CL-EMPTY": refused(400, _LENGTH, P + b"Content-Length:\r\n\r\n"),
    "MAL-CL-TAB-BEFORE-VALUE": passes(
        "MUST NOT count OWS; RFC 9110 5.5", P + b"Content-Length:\t8\r\n\r\n" + BODY
    ),
    "MAL-CHUNK-SIZE-OVERFLOW": refused(
        400, "MUST guard against overflow; RFC 9112 7.1", CHUNKED + b"1" + b"0" * 15 + CHUNKS
    ),
    # Bytes that may not stand where they do
    "MAL-NUL-IN-URL": refused(400, _LINE, _get(b"/m\x00cp")),
    "MAL-NUL-IN-HEADER-VALUE": refused(
        400, "MUST refuse or replace; RFC 9110 5.5", G + b"A: b\x00c\r\n\r\n"
    ),
    "MAL-CONTROL-CHARS-HEADER": refused(
        400, "MAY keep, and others read them as ends; RFC 9110 5.5", G + b"A: \x07\x08\x0b\r\n\r\n"
    ),
    "MAL-NON-ASCII-HEADER-NAME": refused(
        400, "MUST be a token; RFC 9110 5.1", G + b"\xc3\xa4: b\r\n\r\n"
    ),
    "MAL-NON-ASCII-URL": passes(_TARGET, _get(b"/caf\xc3\xa9")),
    "MAL-URL-OVERLONG-UTF8": passes(_TARGET, _get(b"/\xc0\xaf\xc0\xae")),
    "MAL-URL-BACKSLASH": passes(_TARGET, _get(b"/\\mcp")),
    "MAL-URL-PERCENT-NULL": passes("MUST NOT be decoded; RFC 3986 7.3", _get(b"/%00mcp")),
    "MAL-URL-PERCENT-CRLF": passes(
        "MUST NOT be decoded; RFC 3986 7.3", _get(b"/%0d%0aA:%20b%0d%0a%0d%0a")
    ),
}
