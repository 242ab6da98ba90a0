"""Requests that smuggle another one past a careless parser, by the ids of Http11Probe.

Http11Probe is a public suite that judges servers; the ids are its own, so that its reports can be
read against this table. The bytes and the words are ours, and the verdicts are a proxy's.
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
)

EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
CODED = b"Transfer-Encoding: chunked\r\n"
_LIST = "MUST refuse a length that is no 1*DIGIT; RFC 9110 8.6, 9112 6.3 rule 5"
_BOTH = "ought to be an error, MUST close; RFC 9112 6.1, 6.3 rule 3"
_FINAL = "MUST refuse where chunked is not the last coding; RFC 9112 6.3 rule 4"
_SIZE = "MUST follow the grammar chunk-size = 1*HEXDIG; RFC 9112 7.1"
_EXTENSION = "MUST follow the grammar of chunk-ext; RFC 9112 7.1.1"
_CONTROL = "MUST refuse what is neither a token nor white space in a list; RFC 9112 6.1, 9110 5.5"
_TRAILER = "MUST NOT merge what a trailer may not say; RFC 9110 6.5.1"
_BODY_KEPT = "MUST read content whatever the method; RFC 9112 6, 9110 9.3.1"


def _length(value: bytes, body: bytes = BODY) -> bytes:
    return P + b"Content-Length:" + value + b"\r\n\r\n" + body


def _coding(value: bytes, body: bytes = BODY) -> bytes:
    """Both a coding and a length: what is left for a reader who knows only one of them."""
    length = b"Content-Length: %d\r\n" % len(body)
    return P + b"Transfer-Encoding:" + value + b"\r\n" + length + b"\r\n" + body


def _hidden(*lines: bytes, method: bytes = b"GET") -> bytes:
    """A request that is over for who reads chunks, and goes on for who reads the length."""
    body = b"0\r\n\r\n" + EVIL.replace(b"GET", method)
    fields = b"\r\n".join(lines).replace(b"{}", b"%d" % len(body))
    return P + fields + b"\r\n\r\n" + body


def _trailer(line: bytes) -> Row:
    return passes(
        _TRAILER,
        CHUNKED + CHUNKS.removesuffix(b"\r\n") + line + b"\r\n\r\n",
        CHUNKED + CHUNKS,
    )


def _chunk(bytes_of_it: bytes, demand: str = _SIZE) -> Row:
    return refused(400, demand, CHUNKED + bytes_of_it)


SMUGGLING: dict[str, Row] = {
    # Content-Length
    "SMUG-DUPLICATE-CL": refused(
        400, _LIST, P + b"Content-Length: 3\r\nContent-Length: 8\r\n\r\n" + BODY
    ),
    "SMUG-CL-LEADING-ZEROS": passes("is 1*DIGIT; RFC 9110 8.6", _length(b" 008")),
    "SMUG-CL-NEGATIVE": refused(400, _LIST, _length(b" -8")),
    "SMUG-CL-TRAILING-SPACE": passes("MUST NOT count OWS; RFC 9110 5.5", _length(b" 8 ")),
    "SMUG-CL-EXTRA-LEADING-SP": passes("MUST NOT count OWS; RFC 9110 5.5", _length(b"  8")),
    "SMUG-CL-COMMA-DIFFERENT": refused(400, _LIST, _length(b" 3, 8")),
    "SMUG-CL-COMMA-SAME": refused(400, "MAY refuse; RFC 9110 8.6", _length(b" 8, 8")),
    "SMUG-CL-COMMA-TRIPLE": refused(400, "MAY refuse; RFC 9110 8.6", _length(b" 8, 8, 8")),
    "SMUG-CL-OCTAL": refused(400, _LIST, _length(b" 0o10")),
    "SMUG-CL-HEX-PREFIX": refused(400, _LIST, _length(b" 0x8")),
    "SMUG-CL-INTERNAL-SPACE": refused(400, _LIST, _length(b" 1 8", BODY + b"0123456789")),
    "SMUG-CL-UNDERSCORE": refused(400, _LIST, _length(b" 1_8", BODY + b"0123456789")),
    "SMUG-CL-NEGATIVE-ZERO": refused(400, _LIST, _length(b" -0", b"")),
    "SMUG-CL-DOUBLE-ZERO": passes("is 1*DIGIT; RFC 9110 8.6", _length(b" 00", b"")),
    "SMUG-CL-LEADING-ZEROS-OCTAL": passes(
        "is 1*DIGIT, and decimal; RFC 9110 8.6", _length(b" 010", b"[1,2,3,4]\n")
    ),
    "SMUG-DUPLICATE-CL-SMUGGLED-GET": refused(
        400,
        _LIST,
        P + b"Content-Length: 8\r\nContent-Length: 39\r\n\r\n" + BODY + EVIL,
    ),
    # Content-Length beside Transfer-Encoding
    "SMUG-CL-TE-BOTH": refused(
        400, _BOTH, P + b"Content-Length: 18\r\n" + CODED + b"\r\n" + CHUNKS
    ),
    "SMUG-CLTE-PIPELINE": refused(
        400, _BOTH, P + b"Content-Length: 3\r\n" + CODED + b"\r\n0\r\n\r\n"
    ),
    "SMUG-TECL-PIPELINE": refused(
        400, _BOTH, P + CODED + b"Content-Length: 36\r\n\r\n0\r\n\r\n" + EVIL
    ),
    "SMUG-CLTE-CONN-CLOSE": refused(
        400, _BOTH, P + b"Content-Length: 5\r\n" + CODED + b"\r\n0\r\n\r\n" + NEXT
    ),
    "SMUG-TECL-CONN-CLOSE": refused(
        400, _BOTH, P + CODED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + NEXT
    ),
    "SMUG-CLTE-DESYNC": refused(
        400, _BOTH, P + b"Content-Length: 6\r\n" + CODED + b"\r\n0\r\n\r\nX" + NEXT
    ),
    "SMUG-TECL-DESYNC": refused(
        400, _BOTH, P + CODED + b"Content-Length: 36\r\n\r\n0\r\n\r\nX" + NEXT
    ),
    "SMUG-CLTE-SMUGGLED-GET": refused(
        400, _BOTH, _hidden(b"Content-Length: {}", b"Transfer-Encoding: chunked")
    ),
    "SMUG-CLTE-SMUGGLED-HEAD": refused(
        400, _BOTH, _hidden(b"Content-Length: {}", b"Transfer-Encoding: chunked", method=b"HEAD")
    ),
    "SMUG-CLTE-SMUGGLED-GET-CL-PLUS": refused(
        400, _LIST, _hidden(b"Content-Length: +{}", b"Transfer-Encoding: chunked")
    ),
    "SMUG-CLTE-SMUGGLED-GET-CL-NON-NUMERIC": refused(
        400, _LIST, _hidden(b"Content-Length: {}z", b"Transfer-Encoding: chunked")
    ),
    "SMUG-CLTE-SMUGGLED-GET-TE-OBS-FOLD": refused(
        400,
        "MUST refuse or unfold; RFC 9112 5.2",
        _hidden(b"Transfer-Encoding:\r\n\tchunked", b"Content-Length: {}"),
    ),
    "SMUG-CLTE-SMUGGLED-GET-TE-TRAILING-SPACE": refused(
        400, _BOTH, _hidden(b"Content-Length: {}", b"Transfer-Encoding: chunked  ")
    ),
    "SMUG-CLTE-SMUGGLED-GET-TE-LEADING-COMMA": refused(
        400, _BOTH, _hidden(b"Content-Length: {}", b"Transfer-Encoding: ,chunked")
    ),
    "SMUG-CLTE-SMUGGLED-GET-TE-CASE-MISMATCH": refused(
        400, _BOTH, _hidden(b"Content-Length: {}", b"Transfer-Encoding: CHUNKED")
    ),
    "SMUG-TE-DUPLICATE-HEADERS-SMUGGLED-GET": refused(
        400,
        _BOTH,
        _hidden(
            b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Content-Length: {}"
        ),
    ),
    "SMUG-TECL-SMUGGLED-GET": refused(
        400, _BOTH, P + CODED + b"Content-Length: 4\r\n\r\n1f\r\n" + EVIL + b"\r\n0\r\n\r\n"
    ),
    # Transfer-Encoding
    "SMUG-TE-XCHUNKED": refused(400, _FINAL, _coding(b" xchunked")),
    "SMUG-TE-TRAILING-SPACE": refused(400, _BOTH, _coding(b" chunked ", CHUNKS)),
    "SMUG-TE-TAB-BEFORE-VALUE": refused(400, _BOTH, _coding(b"\tchunked", CHUNKS)),
    "SMUG-TE-SP-BEFORE-COLON": refused(
        400,
        "MUST refuse; RFC 9112 5.1",
        P + b"Transfer-Encoding : chunked\r\n" + LENGTH + b"\r\n" + BODY,
    ),
    "SMUG-TE-DOUBLE-CHUNKED": refused(
        400, "MUST NOT be applied twice; RFC 9112 6.1", _coding(b" chunked, chunked")
    ),
    "SMUG-TE-CASE-MISMATCH": refused(400, _BOTH, _coding(b" cHuNkEd", CHUNKS)),
    "SMUG-TE-NOT-FINAL-CHUNKED": refused(
        400, _FINAL, P + b"Transfer-Encoding: chunked, deflate\r\n\r\n0\r\n\r\n"
    ),
    "SMUG-TE-HTTP10": refused(
        400,
        "MUST treat as faulty and close; RFC 9112 6.1",
        _coding(b" chunked", CHUNKS).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ),
    "SMUG-TE-EMPTY-VALUE": refused(400, _FINAL, _coding(b"")),
    "SMUG-TE-LEADING-COMMA": refused(400, _BOTH, _coding(b" , chunked")),
    "SMUG-TE-TRAILING-COMMA": refused(400, _BOTH, _coding(b" chunked ,")),
    "SMUG-TE-DUPLICATE-HEADERS": refused(
        400, _FINAL, _coding(b" chunked\r\nTransfer-Encoding: identity")
    ),
    "SMUG-TE-VTAB": refused(400, _CONTROL, _coding(b" \x0bchunked")),
    "SMUG-TE-FORMFEED": refused(400, _CONTROL, _coding(b" \x0cchunked")),
    "SMUG-TE-NULL": refused(400, _CONTROL, _coding(b" chunked\x00")),
    "SMUG-TE-IDENTITY": refused(400, _FINAL, _coding(b" identity")),
    "SMUG-TE-OBS-FOLD": refused(
        400, "MUST refuse or unfold; RFC 9112 5.2", _coding(b"\r\n chunked")
    ),
    "SMUG-OPTIONS-TE-OBS-FOLD": refused(
        400,
        "MUST refuse or unfold; RFC 9112 5.2",
        _coding(b"\r\n chunked").replace(b"POST", b"OPTIONS") + NEXT,
    ),
    "SMUG-TRANSFER_ENCODING": refused(
        400,
        "is another field, but not to CGI; RFC 3875 4.1.18",
        P + b"Transfer_Encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY,
    ),
    "SMUG-CHUNKED-WITH-PARAMS": refused(
        400, "has no parameters; RFC 9112 7.1", _coding(b" chunked;q=1")
    ),
    # Chunks
    "SMUG-CHUNK-BARE-SEMICOLON": _chunk(CHUNKS.replace(b"8\r", b"8;\r"), _EXTENSION),
    "SMUG-CHUNK-EXT-INVALID-TOKEN": _chunk(CHUNKS.replace(b"8\r", b"8;a{=b\r"), _EXTENSION),
    "SMUG-CHUNK-EXT-LF": _chunk(CHUNKS.replace(b"8\r", b"8;a"), "MAY take; RFC 9112 2.2"),
    "SMUG-CHUNK-EXT-CTRL": _chunk(CHUNKS.replace(b"8\r", b"8;\x00a\r"), _EXTENSION),
    "SMUG-CHUNK-EXT-CR": _chunk(CHUNKS.replace(b"8\r", b"8;a\rb\r"), "MUST refuse; RFC 9112 2.2"),
    "SMUG-CHUNK-BARE-CR-TERM": _chunk(CHUNKS.replace(b"\n", b"", 1), "MUST refuse; RFC 9112 2.2"),
    "SMUG-CHUNK-UNDERSCORE": _chunk(CHUNKS.replace(b"8", b"0_8", 1)),
    "SMUG-CHUNK-HEX-PREFIX": _chunk(b"0x" + CHUNKS),
    "SMUG-CHUNK-SIZE-PLUS": _chunk(b"+" + CHUNKS),
    "SMUG-CHUNK-NEGATIVE": _chunk(b"-" + CHUNKS),
    "SMUG-CHUNK-LEADING-SP": _chunk(b" " + CHUNKS),
    "SMUG-CHUNK-SIZE-TRAILING-OWS": _chunk(CHUNKS.replace(b"8", b"8 ", 1)),
    "SMUG-CHUNK-MISSING-TRAILING-CRLF": _chunk(CHUNKS.replace(b"}\r\n", b"}")),
    "SMUG-CHUNK-SPILL": _chunk(CHUNKS.replace(b"8", b"6", 1)),
    "SMUG-CHUNK-LF-TERM": _chunk(CHUNKS.replace(b"}\r", b"}"), "MAY take; RFC 9112 2.2"),
    "SMUG-CHUNK-LF-TRAILER": _chunk(CHUNKS[:-2] + b"\n", "MAY take; RFC 9112 2.2"),
    "SMUG-CHUNK-INVALID-SIZE-DESYNC": _chunk(b"+0\r\n\r\nX" + NEXT),
    "SMUG-TRAILER-CL": _trailer(b"Content-Length: 31"),
    "SMUG-TRAILER-TE": _trailer(b"Transfer-Encoding: chunked"),
    "SMUG-TRAILER-HOST": _trailer(b"Host: evil"),
    "SMUG-TRAILER-AUTH": _trailer(b"Authorization: Bearer x"),
    "SMUG-TRAILER-CONTENT-TYPE": _trailer(b"Content-Type: text/html"),
    # Bodies where few expect them, and what stands behind them
    "SMUG-EXPECT-100-CL": passes(
        "a proxy MUST forward; RFC 9110 10.1.1",
        P + LENGTH + b"Expect: 100-continue\r\n\r\n" + BODY,
    ),
    "SMUG-EXPECT-100-CL-DESYNC": passes(
        "MUST read the body even so; RFC 9112 6",
        P + LENGTH + b"Expect: 100-continue\r\n\r\n" + BODY + EVIL,
        P + LENGTH + b"Expect: 100-continue\r\n\r\n" + BODY,
        EVIL,
    ),
    "SMUG-HEAD-CL-BODY": passes(_BODY_KEPT, b"HEAD" + G[3:] + LENGTH + b"\r\n" + BODY),
    "SMUG-OPTIONS-CL-BODY": passes(_BODY_KEPT, b"OPTIONS" + G[3:] + LENGTH + b"\r\n" + BODY),
    "SMUG-OPTIONS-CL-BODY-DESYNC": passes(
        _BODY_KEPT,
        b"OPTIONS" + G[3:] + LENGTH + b"\r\n" + BODY + EVIL,
        b"OPTIONS" + G[3:] + LENGTH + b"\r\n" + BODY,
        EVIL,
    ),
    "SMUG-GET-CL-BODY-DESYNC": passes(
        _BODY_KEPT, G + LENGTH + b"\r\n" + BODY + EVIL, G + LENGTH + b"\r\n" + BODY, EVIL
    ),
    "SMUG-GET-CL-PREFIX-DESYNC": passes(
        _BODY_KEPT,
        G + b"Content-Length: 22\r\n\r\nGET /evil HTTP/1.1\r\nA:" + EVIL,
        G + b"Content-Length: 22\r\n\r\nGET /evil HTTP/1.1\r\nA:",
        EVIL,
    ),
    "SMUG-CL0-BODY-POISON": passes(
        "what follows MUST be another message, of the method XGET; RFC 9112 6.3",
        P + b"Content-Length: 0\r\n\r\nX" + EVIL,
        P + b"Content-Length: 0\r\n\r\n",
        b"X" + EVIL,
    ),
    "SMUG-PIPELINE-SAFE": passes("MUST answer in order; RFC 9112 9.3.2", NEXT + EVIL, NEXT, EVIL),
    # Host and bare CR
    "SMUG-ABSOLUTE-URI-HOST-MISMATCH": passes(
        "a proxy MUST replace Host; RFC 9112 3.2.2",
        b"GET http://other.example/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: other.example\r\n\r\n",
    ),
    "SMUG-MULTIPLE-HOST-COMMA": refused(
        400, "MUST refuse an invalid Host; RFC 9112 3.2", G[:-2] + b", other.example\r\n\r\n"
    ),
    "SMUG-BARE-CR-HEADER-VALUE": refused(
        400, "MUST refuse or replace; RFC 9112 2.2", P + LENGTH + b"A: b\rc\r\n\r\n" + BODY
    ),
}
