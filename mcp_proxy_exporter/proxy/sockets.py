"""What the data plane asks of the system beneath an event loop's transport.

Knows socket options and how a peer's end shows on a socket that nobody reads; does not know whose
socket it is or what follows.
"""

import asyncio
import fcntl
import resource
import select
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

_KEEP_ALIVE = tuple(
    (getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
)
"""A peer that vanished without a word is found after a minute of silence, by TCP: an event stream
has no idle timeout. The systems' own default is two hours."""
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, for no time at all
_GONE = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere a plain POLLHUP says the same, later
_COUNT = struct.Struct("i")
_LOOK_SECONDS = 0.02  # how late a client's end may be seen while it is not read


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Let TCP find out when the peer is no more; nothing to do on a unix socket."""
    connection = transport.get_extra_info("socket")
    if connection.family == socket.AF_UNIX:
        return
    with suppress(OSError):  # some systems take no options once the peer is gone
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def reset(transport: asyncio.Transport) -> None:
    """End a connection so that the peer sees an error, not an end (on a unix socket: an end)."""
    if not transport.is_closing():
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def reset_socket(connection: socket.socket) -> None:
    """End a connection in the same way that has no transport yet."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()


def count_unsent(transport: asyncio.Transport, descriptor: int) -> int:
    """Return how many bytes the peer has not taken: ours, and those that wait in the system.

    The system's can be megabytes, which a slow reader takes for minutes without a sign of it here.
    """
    waiting = transport.get_write_buffer_size()
    with suppress(OSError):  # some systems cannot tell
        waiting += _COUNT.unpack(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(_COUNT.size)))[0]
    return waiting


def allow_descriptors() -> None:
    """Let the process open as many files as the system lets it, as Go's runtime and HAProxy do.

    The usual soft limit is 1024, for the sake of programs that call select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # macOS has a lower one of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def is_proper_end(transport: asyncio.Transport) -> bool:
    """Tell whether an end of the stream is one that the peer meant; over TLS it says so.

    RFC 9112 section 9.8: a connection that ends without the closing alert was cut. asyncio reports
    both alike; only the TLS object knows: after the alert it has nothing to read, without one it
    asks for more.
    """
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        return not tls.read(1)
    except ssl.SSLError as error:
        return isinstance(error, ssl.SSLZeroReturnError)


class HangUps:
    """Watches sockets that are not read: an event loop sees an end only by reading up to it.

    One look at all of them at a time, and only while there are any.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, descriptor: int, gone: Callable[[], None]) -> None:
        """Call ``gone`` once the peer has closed, reset or half-closed its side."""
        self._poll.register(descriptor, _GONE)
        self._watched[descriptor] = gone
        if self._timer is None:
            self._arm()

    def forget(self, descriptor: int) -> None:
        """Watch no more; to be called before the descriptor is closed."""
        if self._watched.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        for descriptor, _ in self._poll.poll(0):
            gone = self._watched.get(descriptor)
            if gone is not None:
                self.forget(descriptor)
                gone()
        if self._watched and self._timer is None:
            self._arm()
