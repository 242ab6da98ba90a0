"""What belongs to one connection and what passes through, and names that others read as framing.

The rows whose names begin with NORM have the ids of Http11Probe; the others are ours alone.
"""

from tests.support.probe_rows import BODY, CHUNKED, CHUNKS, LENGTH, NEXT, G, P, Row, passes, refused

_HOP = "MUST remove what is for one connection; RFC 9110 7.6.1"
_NOMINATED = "a sender MUST NOT nominate what is for all recipients; RFC 9110 7.6.1"
_LOOK_ALIKE = "is another field, but not to CGI; RFC 3875 4.1.18"
_SMUGGLED = b"GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"


def _bare(method: bytes) -> Row:
    return passes("MUST NOT gain a body; RFC 9112 6.3 rule 7", method + G[3:] + b"\r\n")


def _nominating(name: bytes, value: bytes) -> Row:
    head = P + LENGTH + b"Connection: close, " + name.upper() + b"\r\n"
    return refused(400, _NOMINATED, head + name + b": " + value + b"\r\n\r\n" + BODY)


def _trailing(line: bytes) -> Row:
    return passes(
        "MUST NOT merge what a trailer may not say; RFC 9110 6.5.1",
        CHUNKED + CHUNKS[:-2] + b"X-Sum: 1\r\n" + line + b"\r\n\r\n",
        CHUNKED + CHUNKS[:-2] + b"X-Sum: 1\r\n\r\n",
    )


def _upgrade(protocol: bytes, head: bytes, body: bytes) -> Row:
    asking = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAMAAABk\r\n"
    return passes(
        "MAY ignore Upgrade; what follows is the next request; RFC 9110 7.8",
        head + asking % protocol + body + _SMUGGLED,
        head + body,
        _SMUGGLED,
    )


HOPS: dict[str, Row] = {
    "NORM-UNDERSCORE-CL": refused(400, _LOOK_ALIKE, P + b"Content_Length: 31\r\n\r\n"),
    "NORM-UNDERSCORE-TE": refused(400, _LOOK_ALIKE, P + b"TRANSFER_encoding: chunked\r\n\r\n"),
    "NORM-SP-BEFORE-COLON-CL": refused(
        400, "MUST refuse; RFC 9112 5.1", P + b"Content-Length\t: 8\r\n\r\n" + BODY
    ),
    "NORM-TAB-IN-NAME": refused(
        400, "MUST be a token; RFC 9110 5.1", P + b"Content\tLength: 8\r\n\r\n" + BODY
    ),
    "NORM-CASE-TE": passes(
        "is case-insensitive; RFC 9110 5.1",
        P + b"TRANSFER-ENCODING:CHUNKED\r\n\r\n" + CHUNKS,
        CHUNKED + CHUNKS,
    ),
    "every hop-by-hop field": passes(
        _HOP,
        P
        + b"Connection: keep-alive, X-Mine\r\nA: b\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n"
        + b"Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nx-mine: c\r\nConnection: x-OTHER, ,\r\n"
        + b"X-Other: d\r\nTransfer-Encoding: chunked\r\nE: f\r\n\r\n"
        + CHUNKS,
        P + b"A: b\r\nE: f\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    ),
    "a nominated token": _nominating(b"Authorization", b"Bearer x"),
    "a nominated cookie": _nominating(b"Cookie", b"a=b"),
    "a nominated length": refused(
        400, _NOMINATED, P + b"Connection: content-length\r\n" + LENGTH + b"\r\n" + BODY
    ),
    "a nominated host": refused(400, _NOMINATED, G + b"Connection: host\r\n\r\n"),
    "a nominated session": _nominating(b"Mcp-Session-Id", b"1"),
    "a nominated client": _nominating(b"X-Forwarded-For", b"192.0.2.1"),
    "a GET without a body": _bare(b"GET"),
    "a DELETE without a body": _bare(b"DELETE"),
    "a HEAD without a body": _bare(b"HEAD"),
    "an OPTIONS without a body": _bare(b"OPTIONS"),
    "bytes that are no UTF-8 in a value": passes(
        "MUST NOT change obs-text; RFC 9110 5.5", G + b"A: \xff\xfe \xc3(\x80\r\n\r\n"
    ),
    "bytes that are no UTF-8 in a name": refused(
        400, "MUST be a token; RFC 9110 5.1", G + b"A\xff: b\r\n\r\n"
    ),
    "a claim in a trailer": _trailing(b"X-Forwarded-For: 192.0.2.1"),
    "a claim in a trailer, for CGI": _trailing(b"X_Forwarded_For: 192.0.2.1"),
    "an origin in a trailer": _trailing(b"Origin: http://good"),
    "a session in a trailer": _trailing(b"Mcp-Session-Id: 1"),
    "an upgrade to h2c and its tail": _upgrade(b"h2c", P, LENGTH + b"\r\n" + BODY),
    "an upgrade to h2c, chunks and its tail": _upgrade(
        b"h2c", P, b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS
    ),
    "an upgrade to h2c without a body and its tail": _upgrade(b"h2c", G, b"\r\n"),
    "an upgrade to WebSocket and its tail": _upgrade(b"websocket", G, b"\r\n"),
    "a preface of HTTP/2 behind an upgrade": Row(
        demand="MUST NOT be read as HTTP/2 where the upgrade was ignored; RFC 9110 7.8",
        sent=G + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        arrives=(G + b"\r\n",),
        refused=505,
    ),
    "a refusal behind a good request": Row(
        demand="spoils only itself; RFC 9112 9.3.2",
        sent=NEXT + P + LENGTH + LENGTH + b"\r\n" + BODY + NEXT,
        arrives=(NEXT,),
        refused=400,
    ),
}
