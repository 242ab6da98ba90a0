"""Bodies of any size without holding one: sent, received and hashed piece by piece.

Knows sockets and how a body is framed; does not know what stands between the two ends.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from tests.soak.process import MIB

_READ = MIB
_PIECE = MIB
_FILLING = bytes(range(0x20, 0x7F)).replace(b'"', b"").replace(b"\\", b"")
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """So many bytes that begin and end in some way and are of one line between."""

    begin: bytes
    size: int
    end: bytes

    def __len__(self) -> int:
        return len(self.begin) + self.size + len(self.end)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body; no two pieces are the same, so that none can stand for another."""
        yield self.begin
        left = self.size
        number = 0
        filling = _FILLING * (_PIECE // len(_FILLING) + 1)
        while left:
            piece = (b"%d " % number + filling)[: min(_PIECE, left)]
            number += 1
            left -= len(piece)
            yield piece
        yield self.end

    def digest(self) -> bytes:
        """Hash the body."""
        hashed = blake2b()
        for piece in self.pieces():
            hashed.update(piece)
        return hashed.digest()


def frame(body: Body, *, chunked: bool) -> bytes:
    """Give the field that frames a body."""
    return b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)


def send(peer: socket.socket, body: Body, *, chunked: bool) -> None:
    """Send a body."""
    for piece in body.pieces():
        peer.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
    if chunked:
        peer.sendall(_LAST_CHUNK)


class Receiver:
    """Reads heads and bodies from one socket."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._buffer = b""

    def read_head(self) -> bytes:
        """Read up to the empty line."""
        return self._read_until(b"\r\n\r\n")

    def read_body(self, head: bytes) -> tuple[int, bytes]:
        """Read the body that a head frames; give its size and its hash."""
        hashed = blake2b()
        size = 0
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            while left := int(self._read_until(b"\r\n"), 16):
                size += left
                self._take(left, hashed)
                assert self._read_until(b"\r\n") == b"\r\n"
            assert self._read_until(b"\r\n") == b"\r\n"
        else:
            size = int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self._take(size, hashed)
        return size, hashed.digest()

    def _take(self, size: int, hashed: blake2b) -> None:
        while size:
            data = self._buffer or self._read()
            self._buffer = data[size:]
            data = data[:size]
            hashed.update(data)
            size -= len(data)

    def _read_until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._buffer += self._read()
        found, _, self._buffer = self._buffer.partition(end)
        return found + end

    def _read(self) -> bytes:
        data = self._peer.recv(_READ)
        assert data, "the connection ended too early"
        return data
