"""TLS contexts that can be changed while connections are open.

Knows how an event loop uses a context and what that costs, and when files were written anew; does
not know which files there are, or what a context is made of (`mcp_proxy_exporter.config.tls`).
"""

import os
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, TypeAlias

from mcp_proxy_exporter.config import ServerSettings

HANDSHAKE_SECONDS = 10.0
"""What a client gets, as for a request's head: a slowloris can begin here, too."""
SHUTDOWN_SECONDS = 5.0
"""For the peer's answer to our closing alert (RFC 8446 section 6.1), which few wait to send."""
_READ_SIZE = 32_768  # two records of the largest kind (RFC 8446 section 5.1)

Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""What tells one state of some files from another; None for one that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsContexts:
    """Both sides of one configured server; None where a side speaks plain HTTP."""

    listener: ssl.SSLContext | None
    upstream: ssl.SSLContext | None


def make_contexts(settings: ServerSettings) -> TlsContexts:
    """Make the contexts of one server; it reads files. Raises `config.WrongFile`."""
    has_tls = settings.target.scheme == "https"
    return TlsContexts(
        listener=settings.listen_tls.build() if settings.listen_tls.cert_file else None,
        upstream=settings.tls.build() if has_tls else None,
    )


class ListenerContext(ssl.SSLContext):
    """Stands on a listener for whichever context is the newest.

    An event loop keeps the context that it was given as long as the listener is open, and asks it
    for each connection's TLS: here the newest one answers. So a change needs no new listener, is
    whole or not at all, and leaves open connections alone.
    """

    newest: ssl.SSLContext

    def __new__(cls, _newest: ssl.SSLContext) -> Self:
        """Make a context that is never used itself."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, newest: ssl.SSLContext) -> None:
        self.newest = newest

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002  # the signature is ssl's
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin the TLS of one connection: what asyncio and uvloop both call."""
        return self.newest.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def bound_buffers() -> None:
    """Let asyncio hold less for each TLS connection of this process from now on.

    For each it makes a buffer for its largest read and writes zeros all over it: 256 KiB of memory,
    of which an idle connection uses nothing. uvloop does not touch its own before it is used.
    """
    SSLProtocol.max_size = _READ_SIZE


def stamp(files: Iterable[str]) -> Stamp:
    """Look at files without reading them: Kubernetes and certbot put new ones in their place."""
    return tuple(map(_stamp_one, files))


def _stamp_one(file: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)  # noqa: PTH116
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
