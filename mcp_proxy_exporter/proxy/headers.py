"""Which header fields change between one side and the other: the whole, closed list.

Towards the upstream: the hop-by-hop fields are removed (`HOP_BY_HOP` and what ``Connection``
nominates, RFC 9110 section 7.6.1); ``Host`` follows the configured rule, and is added where
HTTP/1.0 came without; an absolute-form target becomes origin-form, and its authority the ``Host``
(RFC 9112 section 3.2.2); configured fields are set; a chunked body is framed anew. Towards the
client: the hop-by-hop fields are removed, a body that came chunked or until close is framed anew,
and ``Connection: close`` is added where this connection ends. Claims about who is in front of the
client are replaced (`forwarding`), and ``Via`` is added where that is configured. Both sides are
spoken to in HTTP/1.1, with the space that a status line without reason may lack. Everything else
keeps name, case, value, order and multiplicity.

Framed anew means: ``Transfer-Encoding: chunked`` stands last, chunk extensions end here (RFC 9112
section 7.1.1), and so do trailers where the next hop has no chunks for them or they must not be
trailers (`mcp_proxy_exporter.proxy.chunks`).
"""

from collections.abc import Sequence

from mcp_proxy_exporter.proxy.heads import (
    CHUNKED,
    UNTIL_CLOSE,
    Head,
    RequestHead,
    ResponseHead,
    field_name,
)

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
"""RFC 9110 section 7.6.1, with Transfer-Encoding (RFC 9112 section 6.1): framing is per hop."""

PROTECTED = frozenset(
    {
        b"authorization", b"content-encoding", b"content-length", b"content-type", b"cookie",
        b"forwarded", b"host", b"last-event-id", b"origin", b"via", b"x-real-ip",
    }
)  # fmt: skip
"""End-to-end fields that no ``Connection`` may nominate: having a proxy strip them is an attack."""
_PROTECTED_PREFIXES = (b"mcp-", b"x-forwarded-")


def nominated(head: Head) -> frozenset[bytes]:
    """Return the lower-case names that ``Connection`` lists (RFC 9110 section 7.6.1)."""
    return frozenset(
        name for token in head.fields[b"connection"].split(b",") if (name := token.strip().lower())
    )


def protected(names: frozenset[bytes]) -> frozenset[bytes]:
    """Return those of the lower-case names that no ``Connection`` may list."""
    return frozenset(
        name for name in names if name in PROTECTED or name.startswith(_PROTECTED_PREFIXES)
    )


def _kept(head: Head, extra: frozenset[bytes] = frozenset()) -> list[bytes]:
    """Return the field lines that pass: all but the hop-by-hop and ``extra`` ones."""
    fields = head.fields
    dropped = HOP_BY_HOP | extra if extra else HOP_BY_HOP
    if b"connection" in fields:
        # `admission` refuses requests that nominate a protected field; in a response the
        # nomination is ignored: a lost Content-Length would leave its body without an end.
        names = nominated(head)
        dropped |= names - protected(names)
    if dropped.isdisjoint(fields):
        return head.lines
    return [line for line in head.lines if field_name(line) not in dropped]


def wants_close(head: Head) -> bool:
    """Tell whether the sender will not use its connection again (RFC 9112 section 9.3)."""
    return head.minor == 0 or (b"connection" in head.fields and b"close" in nominated(head))


def forward_request(
    head: RequestHead,
    *,
    target: bytes,
    host: bytes | None,
    extra: Sequence[tuple[bytes, bytes]],
    dropped: frozenset[bytes] = frozenset(),
    via: bytes = b"",
) -> bytes:
    """Serialise a request head for the upstream.

    ``host`` replaces the Host field (None keeps it); ``extra`` fields replace any of their name, in
    either spelling; ``dropped`` are further lower-case names to remove; ``via`` is our name in the
    field Via.
    """
    if extra:
        names = _plain_names(extra)
        dropped |= {name for name in head.fields if _plain(name) in names}
    kept = _kept(head, dropped)
    lines = [b"%b %b HTTP/1.1" % (head.method, target)]
    if host is not None:
        lines += _with_host(kept, host)
    else:
        lines += kept
    for name, value in extra:
        lines.append(b"%b: %b" % (name, value))
    if via:
        # RFC 9110 section 7.6.3: the version is the one that the request came in.
        lines.append(b"Via: 1.%d %b" % (head.minor, via))
    if head.length == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def forward_trailers(trailers: bytes, extra: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the trailer lines without what some servers would take for an ``extra`` field."""
    names = _plain_names(extra)
    lines = trailers.removesuffix(b"\r\n").split(b"\r\n")
    return b"".join(line + b"\r\n" for line in lines if _plain(field_name(line)) not in names)


def _plain_names(fields: Sequence[tuple[bytes, bytes]]) -> set[bytes]:
    return {_plain(name.lower()) for name, _ in fields}


def _plain(name: bytes) -> bytes:
    """CGI and WSGI make the same variable of both spellings."""
    return name.replace(b"_", b"-")


def _with_host(lines: list[bytes], host: bytes) -> list[bytes]:
    """Return the lines with the Host field's value replaced in place, or added in front."""
    if not any(field_name(line) == b"host" for line in lines):
        return [b"Host: " + host, *lines]
    return [line[:5] + b" " + host if field_name(line) == b"host" else line for line in lines]


def forward_response(head: ResponseHead, *, chunked: bool, close: bool) -> bytes:
    """Serialise a response head for the client; ``chunked`` and ``close`` say how it is framed."""
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.reason)]
    lines += _kept(head)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if close:
        lines.append(b"Connection: close")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def is_reframed(length: int) -> bool:
    """Tell whether a body of this `heads` length needs the chunked coding on the next hop."""
    return length in (CHUNKED, UNTIL_CLOSE)
