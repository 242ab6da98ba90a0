"""Requests as RFC 9110 and 9112 allow or forbid them, by the ids of Http11Probe.

As in `probe_smuggling`: the ids are that suite's, bytes, words and verdicts are ours.
"""

from tests.support.probe_rows import (
    BODY,
    CHUNKED,
    CHUNKS,
    LENGTH,
    NEXT,
    G,
    P,
    Row,
    passes,
    refused,
    unfinished,
)

_FIELD = "MUST be token, colon, value; RFC 9112 5, 5.1"
_HOST = "MUST refuse a missing, repeated or invalid Host; RFC 9112 3.2"
_LINE = "SHOULD refuse an invalid request line; RFC 9112 3"
_VERSION = "is HTTP-name, slash, digit, dot, digit, case-sensitive; RFC 9112 2.3"
_UPGRADE = "MAY ignore Upgrade, which MUST NOT pass on unread; RFC 9110 7.6.1, 7.8"
_ITS_OWN = "is the upstream's to judge; RFC 9110 "
_CHUNKED = "MUST be able to read chunked; RFC 9112 7.1"
_WEBSOCKET = b"Upgrade: websocket\r\nSec-WebSocket-Version: %d\r\n"

COMPLIANCE: dict[str, Row] = {
    # Lines
    "COMP-BASELINE": passes("is whole and valid; RFC 9112 2.1", G + b"\r\n"),
    "COMP-LEADING-CRLF": passes(
        "SHOULD ignore an empty line first; RFC 9112 2.2", b"\r\n\r\n" + G + b"\r\n", G + b"\r\n"
    ),
    "RFC9112-2.2-BARE-LF-REQUEST-LINE": refused(
        400, "MAY take a bare LF; RFC 9112 2.2", G.replace(b"\r", b"", 1) + b"\r\n"
    ),
    "RFC9112-2.2-BARE-LF-HEADER": refused(
        400, "MAY take a bare LF; RFC 9112 2.2", G + b"A: b\nC: d\r\n\r\n"
    ),
    "RFC9112-3-CR-ONLY-LINE-ENDING": refused(
        400, "MUST refuse or replace a bare CR; RFC 9112 2.2", G.replace(b"\n", b"", 1) + b"\r\n"
    ),
    "RFC9112-5.1-OBS-FOLD": refused(
        400, "MUST refuse or unfold; RFC 9112 5.2", G + b"A: b\r\n\tc\r\n\r\n"
    ),
    "COMP-WHITESPACE-BEFORE-HEADERS": refused(
        400,
        "MUST refuse or drop such lines; RFC 9112 2.2",
        G.replace(b"\r\n", b"\r\n\t\r\n", 1) + b"\r\n",
    ),
    "RFC9112-3-MULTI-SP-REQUEST-LINE": refused(400, _LINE, G.replace(b" /", b"  /") + b"\r\n"),
    "COMP-REQUEST-LINE-TAB": refused(400, _LINE, G.replace(b" /", b"\t/") + b"\r\n"),
    "COMP-SPACE-IN-TARGET": refused(400, _LINE, G.replace(b"/ ", b"/m cp ") + b"\r\n"),
    "RFC9112-3-MISSING-TARGET": refused(400, _LINE, G.replace(b"/ ", b"", 1) + b"\r\n"),
    "RFC9112-3.2-FRAGMENT-IN-TARGET": passes(
        "is no origin-form, and not ours to judge; RFC 9112 3.2", b"GET /mcp#x" + G[5:] + b"\r\n"
    ),
    "COMP-LONG-URL-OK": passes(
        "SHOULD take 8000 octets; RFC 9112 3", b"GET /" + b"m" * 8000 + G[5:] + b"\r\n"
    ),
    # Versions
    "RFC9112-2.3-INVALID-VERSION": refused(
        505, "MAY answer 505 to another major version; RFC 9110 15.6.6", b"GET / HTTP/3.7\r\n\r\n"
    ),
    "RFC9112-2.3-HTTP09-REQUEST": refused(400, _LINE, b"GET /mcp\r\n"),
    "COMP-VERSION-MISSING-MINOR": refused(400, _VERSION, G.replace(b"/1.1", b"/1") + b"\r\n"),
    "COMP-VERSION-LEADING-ZEROS": refused(400, _VERSION, G.replace(b"/1.1", b"/01.1") + b"\r\n"),
    "COMP-VERSION-WHITESPACE": refused(400, _VERSION, G.replace(b"/1.1", b"/1 .1") + b"\r\n"),
    "COMP-VERSION-CASE": refused(400, _VERSION, G.replace(b"HTTP", b"Http") + b"\r\n"),
    "COMP-HTTP12-VERSION": refused(
        505, "SHOULD be read as 1.1; there is no 1.2; RFC 9110 2.5", G.replace(b"1.1", b"1.2")
    ),
    "COMP-HTTP10-DEFAULT-CLOSE": passes(
        "SHOULD close; a proxy MUST send its own version; RFC 9112 2.3, 9.3",
        G.replace(b"1.1", b"1.0") + b"\r\n",
        G + b"\r\n",
        ends=True,
    ),
    "COMP-NO-1XX-HTTP10": passes(
        "MUST ignore; the upstream's 100 ends here (see the table of responses); RFC 9110 10.1.1",
        P.replace(b"1.1", b"1.0") + LENGTH + b"Expect: 100-continue\r\n\r\n" + BODY,
        P + LENGTH + b"Expect: 100-continue\r\n\r\n" + BODY,
        ends=True,
    ),
    # Fields
    "RFC9110-5.6.2-SP-BEFORE-COLON": refused(400, _FIELD, G + b"A : b\r\n\r\n"),
    "RFC9112-5-EMPTY-HEADER-NAME": refused(400, _FIELD, G + b": b\r\n\r\n"),
    "RFC9112-5-INVALID-HEADER-NAME": refused(400, _FIELD, G + b"A{}: b\r\n\r\n"),
    "RFC9112-5-HEADER-NO-COLON": refused(400, _FIELD, G + b"Ab\r\n\r\n"),
    "COMP-DUPLICATE-CT": passes(
        "MUST NOT change the order of equal names; RFC 9110 5.3",
        P + LENGTH + b"Content-Type: application/json\r\nContent-Type: a/b\r\n\r\n" + BODY,
    ),
    "COMP-CONNECTION-CLOSE": passes(
        "MUST close after the answer; RFC 9112 9.6",
        G + b"Connection: close\r\n\r\n",
        G + b"\r\n",
        ends=True,
    ),
    # Host
    "RFC9112-7.1-MISSING-HOST": refused(400, _HOST, b"GET / HTTP/1.1\r\nA: b\r\n\r\n"),
    "RFC9110-5.4-DUPLICATE-HOST": refused(400, _HOST, G + b"Host: b\r\n\r\n"),
    "COMP-DUPLICATE-HOST-SAME": refused(400, _HOST, G + b"host: a\r\n\r\n"),
    "COMP-HOST-WITH-USERINFO": refused(400, _HOST, G.replace(b": a", b": me@a") + b"\r\n"),
    "COMP-HOST-WITH-PATH": refused(400, _HOST, G.replace(b": a", b": a/mcp") + b"\r\n"),
    "COMP-HOST-EMPTY-VALUE": passes(
        "MUST be sent so where the target has no authority, MAY be refused; RFC 9112 3.2, 3.3",
        G.replace(b": a", b":") + b"\r\n",
    ),
    # Targets and methods
    "COMP-ABSOLUTE-FORM": passes(
        "MUST take it; RFC 9112 3.2.2",
        b"GET http://b:81/mcp?a" + G[5:] + b"\r\n",
        b"GET /mcp?a HTTP/1.1\r\nHost: b:81\r\n\r\n",
    ),
    "COMP-ASTERISK-WITH-GET": refused(
        400, "is for OPTIONS only; RFC 9112 3.2.4", b"GET *" + G[5:] + b"\r\n"
    ),
    "COMP-OPTIONS-STAR": passes(
        "is what it is for; RFC 9112 3.2.4", b"OPTIONS *" + G[5:] + b"\r\n"
    ),
    "COMP-METHOD-CONNECT": refused(
        501, "SHOULD be 501; RFC 9110 9.1, 9.3.6", b"CONNECT b:1" + G[5:] + b"\r\n"
    ),
    "COMP-METHOD-CASE": passes("is case-sensitive; RFC 9110 9.1", b"gEt" + G[3:] + b"\r\n"),
    "COMP-UNKNOWN-METHOD": passes(_ITS_OWN + "9.1", b"BREW" + G[3:] + b"\r\n"),
    "COMP-METHOD-TRACE": passes(_ITS_OWN + "9.3.8", b"TRACE" + G[3:] + b"\r\n"),
    "COMP-TRACE-WITH-BODY": passes(
        "a client MUST NOT; the body is delimited all the same; RFC 9110 9.3.8",
        b"TRACE" + G[3:] + LENGTH + b"\r\n" + BODY,
    ),
    "COMP-TRACE-SENSITIVE": passes(
        "is the upstream's to leave out; RFC 9110 9.3.8",
        b"TRACE" + G[3:] + b"Authorization: Bearer x\r\n\r\n",
    ),
    "COMP-HEAD-NO-BODY": passes("gains no body; RFC 9110 9.3.2", b"HEAD" + G[3:] + b"\r\n"),
    "COMP-GET-WITH-CL-BODY": passes("is delimited; RFC 9110 9.3.1", G + LENGTH + b"\r\n" + BODY),
    # Bodies
    "RFC9112-6.1-CL-NON-NUMERIC": refused(
        400, "MUST refuse; RFC 9112 6.3 rule 5", P + b"Content-Length: eight\r\n\r\n"
    ),
    "RFC9112-6.1-CL-PLUS-SIGN": refused(
        400, "MUST refuse; RFC 9112 6.3 rule 5", P + b"Content-Length: +8\r\n\r\n" + BODY
    ),
    "COMP-UNKNOWN-TE-501": refused(
        400,
        "SHOULD be 501, MUST be 400 as chunked is not last; RFC 9112 6.1, 6.3",
        P + b"Transfer-Encoding: deflate\r\n\r\n",
    ),
    "COMP-POST-CL-BODY": passes("is delimited; RFC 9112 6.3", P + LENGTH + b"\r\n" + BODY),
    "COMP-POST-CL-ZERO": passes("is delimited; RFC 9112 6.3", P + b"Content-Length: 0\r\n\r\n"),
    "COMP-POST-NO-CL-NO-TE": passes("has no body; RFC 9112 6.3 rule 7", P + b"\r\n"),
    "COMP-POST-CL-UNDERSEND": unfinished(
        "MUST NOT be taken for whole; RFC 9112 8", P + b"Content-Length: 9\r\n\r\n" + BODY
    ),
    "COMP-CHUNKED-BODY": passes(_CHUNKED, CHUNKED + CHUNKS),
    "COMP-CHUNKED-MULTI": passes(
        "MUST be able to read chunked, and MAY cut it anew; RFC 9112 7.1",
        CHUNKED + b"2\r\n{}\r\n" + CHUNKS,
        CHUNKED + b"a\r\n{}" + BODY + b"\r\n0\r\n\r\n",
    ),
    "COMP-CHUNKED-EMPTY": passes(_CHUNKED, CHUNKED + b"0\r\n\r\n"),
    "COMP-CHUNKED-NO-FINAL": unfinished(
        "MUST NOT be taken for whole; RFC 9112 8", CHUNKED + CHUNKS[:-5]
    ),
    "COMP-CHUNKED-EXTENSION": passes(
        "MUST ignore unknown ones; RFC 9112 7.1.1",
        CHUNKED + CHUNKS.replace(b"8\r", b'8 ; a ; b=c;d="e\\"; f"\r'),
        CHUNKED + CHUNKS,
    ),
    "COMP-CHUNKED-TRAILER-VALID": passes(
        "MAY pass; RFC 9110 6.5.1", CHUNKED + CHUNKS[:-2] + b"X-Sum: 1\r\n\r\n"
    ),
    "COMP-CHUNKED-HEX-UPPERCASE": passes(
        _CHUNKED,
        CHUNKED + b"A\r\n[12345678]\r\n0\r\n\r\n",
        CHUNKED + b"a\r\n[12345678]\r\n0\r\n\r\n",
    ),
    # Upgrades: what stands behind one is the next request
    "COMP-UPGRADE-POST": passes(
        _UPGRADE,
        P + b"Connection: Upgrade\r\n" + _WEBSOCKET % 13 + b"\r\n" + NEXT,
        P + b"Sec-WebSocket-Version: 13\r\n\r\n",
        NEXT,
    ),
    "COMP-UPGRADE-MISSING-CONN": passes(
        _UPGRADE, G + _WEBSOCKET % 13 + b"\r\n", G + b"Sec-WebSocket-Version: 13\r\n\r\n"
    ),
    "COMP-UPGRADE-UNKNOWN": passes(
        _UPGRADE, G + b"Connection: upgrade\r\nUpgrade: tea/7\r\n\r\n", G + b"\r\n"
    ),
    "COMP-UPGRADE-INVALID-VER": passes(
        _UPGRADE,
        G + b"Connection: Upgrade\r\n" + _WEBSOCKET % 99 + b"\r\n",
        G + b"Sec-WebSocket-Version: 99\r\n\r\n",
    ),
    "COMP-UPGRADE-HTTP10": passes(
        "MUST ignore Upgrade in HTTP/1.0; RFC 9110 7.8",
        G.replace(b"1.1", b"1.0") + b"Connection: Upgrade\r\n" + _WEBSOCKET % 13 + b"\r\n",
        G + b"Sec-WebSocket-Version: 13\r\n\r\n",
        ends=True,
    ),
    # What only the upstream can judge passes
    "COMP-HTTP10-NO-HOST": passes(
        "need not have one; RFC 9112 3.2",
        b"GET http://a/ HTTP/1.0\r\n\r\n",
        G + b"\r\n",
        ends=True,
    ),
    "COMP-EXPECT-UNKNOWN": passes(
        "MAY answer 417; RFC 9110 10.1.1", G + b"Expect: tea\r\n\r\n"
    ),
    "COMP-RANGE-POST": passes(
        "MUST be ignored by who serves it; RFC 9110 14.2",
        P + LENGTH + b"Range: bytes=0-3\r\n\r\n" + BODY,
    ),
    "COMP-RANGE-INVALID": passes("MAY be ignored; RFC 9110 14.2", G + b"Range: bytes=z\r\n\r\n"),
    "COMP-ACCEPT-NONSENSE": passes("MAY be 406; RFC 9110 12.5.1", G + b"Accept: x/y\r\n\r\n"),
    "COMP-POST-UNSUPPORTED-CT": passes(
        "MAY be 415; RFC 9110 15.5.16", P + LENGTH + b"Content-Type: x/y\r\n\r\n" + BODY
    ),
}  # fmt: skip

NOT_APPLICABLE = {
    # These judge what an origin server puts into its own answers, which pass as they came.
    "COMP-405-ALLOW": "Allow says what the resource supports, which only its server knows",
    "COMP-OPTIONS-ALLOW": "the same; OPTIONS passes (SMUG-OPTIONS-CL-BODY)",
    "COMP-DATE-HEADER": "the Date is the server's, and passes",
    "COMP-DATE-FORMAT": "the same, whatever its format",
    "COMP-NO-CL-IN-204": "the server's; RFC 9112 section 6.3 rule 1 ends a 204 at its head anyway",
    "COMP-CONTENT-TYPE": "the server's; each answer of the proxy's own has one (test_bad_input)",
}
"""Probes of an origin server that say nothing about a proxy, and why."""
