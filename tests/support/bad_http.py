"""Malformed HTTP by name: requests with the status that refuses them, and responses.

Sizes are in excess of a head limit of 4096 bytes and 64 fields.
"""

G = b"GET / HTTP/1.1\r\nHost: a\r\n"
P = b"POST /mcp HTTP/1.1\r\nHost: a\r\n"
CHUNKED = P + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED: dict[str, tuple[int, bytes]] = {
    # Request lines (RFC 9112 section 3)
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "zeros": (400, bytes(64)),
    "a JSON-RPC message without HTTP": (400, b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'),
    "a proxy protocol header": (400, b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + G + b"\r\n"),
    "a method alone": (400, b"GET\r\n\r\n"),
    "no version": (400, b"GET /\r\n\r\n"),
    "HTTP/0.9": (505, b"GET / HTTP/0.9\r\n\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "lower-case version": (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    "version without digits": (400, b"GET / HTTP/x.y\r\nHost: a\r\n\r\n"),
    "two spaces": (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "leading space": (400, b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "trailing space": (400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    "tabs": (400, b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    "space in the target": (400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "NUL in the target": (400, b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "control in the method": (400, b"GE\x01T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "separator in the method": (400, b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "byte order mark": (400, b"\xef\xbb\xbfGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    # Line ends (RFC 9112 section 2.2)
    "bare LF everywhere": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "bare LF before the request line": (400, b"\n" + G + b"\r\n"),
    "bare LF after the request line": (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    "bare LF after a field": (400, G + b"A: b\nC: d\r\n\r\n"),
    "bare LF at the end": (400, G + b"\n"),
    "bare CR in a field": (400, G + b"A: b\rC: d\r\n\r\n"),
    "bare CR in the request line": (400, b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    # Targets (RFC 9112 section 3.2)
    "no slash": (400, b"GET mcp HTTP/1.1\r\nHost: a\r\n\r\n"),
    "asterisk with GET": (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "authority-form": (400, b"GET evil:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "other scheme": (400, b"GET ftp://evil/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute-form without host": (400, b"GET http:///mcp HTTP/1.1\r\nHost: a\r\n\r\n"),
    "user information": (400, b"GET http://a@evil/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT": (501, b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n"),
    "CONNECT with a path": (501, b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
    # Host (RFC 9112 section 3.2)
    "no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, G + b"host: evil\r\n\r\n"),
    "two equal Hosts": (400, G + b"Host: a\r\n\r\n"),
    "Host with a space": (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "Host with a path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    # Fields (RFC 9112 section 5)
    "space before the colon": (400, G + b"A : b\r\n\r\n"),
    "obs-fold": (400, G + b"A: b\r\n c\r\n\r\n"),
    "space before the first field": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "no colon": (400, G + b"Ab\r\n\r\n"),
    "no name": (400, G + b": b\r\n\r\n"),
    "separator in a name": (400, G + b"A(b): c\r\n\r\n"),
    "non-ASCII in a name": (400, G + b"\xc3\xa4: b\r\n\r\n"),
    "NUL in a name": (400, G + b"A\x00: b\r\n\r\n"),
    "NUL in a value": (400, G + b"A: b\x00c\r\n\r\n"),
    "control in a value": (400, G + b"A: \x1b[31m\r\n\r\n"),
    "Connection nominates Host": (400, G + b"Connection: close, host\r\n\r\n"),
    "Connection nominates a mirrored parameter": (
        400, G + b"Connection: Mcp-Param-Region\r\nMcp-Param-Region: eu\r\n\r\n",
    ),
    "Connection nominates X-Forwarded-For": (
        400, G + b"Connection: x-forwarded-for\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
    ),
    "Connection nominates the length": (
        400, P + b"Connection: Content-Length\r\nContent-Length: 1\r\n\r\nx",
    ),
    # Lengths (RFC 9112 section 6.3)
    "length and chunked": (
        400, P + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "chunked and length": (
        400, P + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    "two lengths": (400, P + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
    "two equal lengths": (400, P + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
    "a list of lengths": (400, P + b"Content-Length: 1, 1\r\n\r\nx"),
    "length with a sign": (400, P + b"Content-Length: +1\r\n\r\nx"),
    "negative length": (400, P + b"Content-Length: -1\r\n\r\nx"),
    "hexadecimal length": (400, P + b"Content-Length: 0x1\r\n\r\nx"),
    "empty length": (400, P + b"Content-Length: \r\n\r\n"),
    "length beyond 64 bits": (400, P + b"Content-Length: 18446744073709551617\r\n\r\nx"),
    "length beyond 63 bits": (400, P + b"Content-Length: 9223372036854775808\r\n\r\nx"),
    "length in other digits": (400, P + b"Content-Length: \xd9\xa1\r\n\r\nx"),
    "length with an underscore": (400, P + b"Content_Length: 1\r\n\r\nx"),
    "coding with an underscore": (
        400, P + b"transfer_encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    "gzip, chunked": (501, P + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked, gzip": (400, P + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, P + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "two codings": (
        400, P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    ),
    "xchunked": (400, P + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "identity": (400, P + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    "coding behind a vertical tab": (
        400, P + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    "coding in HTTP/1.0": (
        400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    # Sizes
    "a target too long": (414, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target without end": (414, b"GET /" + b"a" * 5000),
    "a field too long": (431, G + b"A: " + b"b" * 1_000_000 + b"\r\n\r\n"),
    "a field without end": (431, G + b"A: " + b"b" * 5000),
    "too many fields": (431, G + b"A: b\r\n" * 70 + b"\r\n"),
    "fields without end": (431, G + b"A: b\r\n" * 2000),
    # Bodies (RFC 9112 section 7.1), in one segment with their heads
    "chunk size is no number": (400, CHUNKED + b"z\r\n"),
    "chunk size is missing": (400, CHUNKED + b"\r\n"),
    "chunk size is negative": (400, CHUNKED + b"-1\r\n"),
    "chunk size with 0x": (400, CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n"),
    "chunk size beyond 64 bits": (400, CHUNKED + b"fffffffffffffffff\r\n"),
    "chunk longer than its size": (400, CHUNKED + b"1\r\nxy\r\n0\r\n\r\n"),
    "chunk with bare LF": (400, CHUNKED + b"1\nx\n0\n\n"),
    "chunk extension with LF": (400, CHUNKED + b"1;a\nb\r\nx\r\n0\r\n\r\n"),
    "chunk extension without end": (400, CHUNKED + b"1;" + b"a" * 9000),
    "trailer without colon": (400, CHUNKED + b"0\r\nGET / HTTP/1.1\r\n\r\n"),
    "trailer without end": (400, CHUNKED + b"0\r\nA: " + b"b" * 20_000),
    # Never whole
    "half a request line": (408, b"GET / HT"),
    "half a head": (408, G),
    "half a line end": (408, G + b"\r"),
}  # fmt: skip

ODD: dict[str, tuple[bytes, bytes]] = {
    # Unusual but well-formed: what is sent, and what arrives.
    "unknown method": (b"BREW /mcp HTTP/1.1\r\nHost: a\r\n\r\n",) * 2,
    "lower-case method": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n",) * 2,
    "odd target": (b"GET //x/..%2F;{}|\\^#?? HTTP/1.1\r\nHost: a\r\n\r\n",) * 2,
    "non-ASCII target": (b"GET /caf\xe9\xff HTTP/1.1\r\nHost: a\r\n\r\n",) * 2,
    "no UTF-8 in a value": (G + b"A: \xff\xfe\x80\r\n\r\n",) * 2,
    "non-ASCII Host": (b"GET / HTTP/1.1\r\nHost: caf\xe9\r\n\r\n",) * 2,
    "empty value": (G + b"A:\r\n\r\n",) * 2,
    "empty Host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n",) * 2,
    "unknown expectation": (G + b"Expect: a miracle\r\n\r\n",) * 2,
    "GET with a body": (G + b"Content-Length: 1\r\n\r\nx",) * 2,
    "empty lines first": (b"\r\n\r\n" + G + b"\r\n", G + b"\r\n"),
    "upgrade": (G + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n", G + b"\r\n"),
}  # fmt: skip

BAD_RESPONSES: dict[str, bytes] = {
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "Redis": b"-ERR unknown command 'POST'\r\n",
    "SMTP": b"220 mail.example ESMTP\r\n",
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x50",
    "HTTP/0.9": b"<html>\n",
    "JSON": b'{"jsonrpc":"2.0","id":1,"result":{}}',
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/2 settings": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\x00K\r\n\r\n",
    "empty line first": b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare LF in a field": b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nA\r\n\r\n",
    "length and chunked": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "length beyond 64 bits": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "coding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 70 + b"\r\n",
    "a field too long": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 5000 + b"\r\n\r\n",
    "a reason without end": b"HTTP/1.1 200 " + b"a" * 5000,
    "protocols switched": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "garbage behind an interim one": b"HTTP/1.1 100 Continue\r\n\r\nhello",
}
