"""A watch over one thread: which calls that can make it wait does the product make there?

Knows calls of the interpreter's built-in modules that ask the disk, the resolver, another process
or the clock; does not know event loops, whose own system calls never wait. Locks are left out: a
scrape's thread cannot be started without one.

    with watching() as waits:
        ...                        # traffic, in this thread
    assert waits == []
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

PRODUCT = "/mcp_proxy_exporter/"
ALWAYS = {
    ("time", "sleep"),
    ("io", "open"),
    ("_io", "open"),
    ("_io", "open_code"),
    ("_socket", "getaddrinfo"),
    ("_socket", "gethostbyname"),
    ("_socket", "gethostbyaddr"),
    ("_socket", "getnameinfo"),
    ("_posixsubprocess", "fork_exec"),
    ("posix", "open"),
    ("posix", "stat"),
    ("posix", "lstat"),
    ("posix", "listdir"),
    ("posix", "scandir"),
    ("posix", "mkdir"),
    ("posix", "unlink"),
    ("posix", "rename"),
    ("posix", "replace"),
    ("posix", "fsync"),
    ("posix", "waitpid"),
    ("posix", "system"),
    ("_ssl", "load_cert_chain"),
    ("_ssl", "load_verify_locations"),
    ("_ssl", "set_default_verify_paths"),
}
IF_BLOCKING = {"accept", "connect", "recv", "recv_into", "recvfrom", "send", "sendall", "sendto"}
"""Methods of sockets: they wait where the socket has a time limit other than 0."""


@contextmanager
def watching(owner: str = PRODUCT) -> Iterator[list[str]]:
    """Collect the calls that can wait, made in this thread by code whose path contains ``owner``.

    ``owner`` need not make them itself: what the standard library does for it counts.
    """
    found: list[str] = []

    def look(frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call" or not can_wait(called) or is_literal(frame):
            return
        if place := find_owner(frame, owner):
            found.append(f"{called.__name__} for {place}")

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(before)


def can_wait(called: Any) -> bool:
    """Say whether a built-in function or method may wait."""
    name = called.__name__
    receiver: Any = getattr(called, "__self__", None)
    if name in IF_BLOCKING and hasattr(receiver, "gettimeout"):
        return bool(receiver.gettimeout() != 0)
    module = getattr(called, "__module__", None) or type(receiver).__module__
    return (module, name) in ALWAYS


def is_literal(frame: FrameType) -> bool:
    """Say whether this is `socket.getaddrinfo` for an address in digits, which nobody is asked."""
    flags = frame.f_locals.get("flags", 0)
    return frame.f_code is socket.getaddrinfo.__code__ and bool(flags & socket.AI_NUMERICHOST)


def find_owner(frame: FrameType | None, owner: str) -> str | None:
    """Return the innermost place of the owner's that this is done for; None where it is not."""
    while frame is not None:
        if owner in frame.f_code.co_filename:
            return f"{frame.f_code.co_filename.rpartition(owner)[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return None
