"""A network of two: this machine, and a namespace that can fall silent or refuse.

Knows ip(8) and iptables(8), and needs root; does not know HTTP.
"""

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import SO_REUSEADDR, SOL_SOCKET, socket

from tests.support.programs import find_tool, lack

PORT = 8000
_NETWORK = 0x40000000  # CLONE_NEWNET of <sched.h>; os.setns is Python 3.12's
_SECONDS = 10.0


class Namespace:
    """A network namespace at the other end of a pair of virtual Ethernet devices."""

    def __init__(self, number: int) -> None:
        self._name = f"fault{number}"
        self._near, self._far = f"fn{number}", f"ff{number}"
        # 198.18.0.0/15 is for tests of networks (RFC 2544): nobody's route is in the way.
        self._net = f"198.18.{number % 250}"
        self.address = f"{self._net}.2"

    def open(self) -> None:
        """Make it, or `lack` the right to do so."""
        if os.geteuid():
            lack("a network namespace needs root")
        find_tool("iptables")
        made = subprocess.run(
            [find_tool("ip"), "netns", "add", self._name],
            capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        if made.returncode:
            lack(f"no network namespace can be made: {made.stderr}")
        pair = ("link", "add", self._near, "type", "veth", "peer", "name", self._far)
        _run("ip", *pair, "netns", self._name)
        _run("ip", "address", "add", f"{self._net}.1/30", "dev", self._near)
        _run("ip", "link", "set", self._near, "up")
        self.run("ip", "address", "add", f"{self.address}/30", "dev", self._far)
        self.run("ip", "link", "set", self._far, "up")

    def close(self) -> None:
        """Remove it and its devices."""
        # First, and at once: a namespace goes later than the command for it returns.
        _run("ip", "link", "delete", self._near)
        _run("ip", "netns", "delete", self._name)

    def run(self, *command: str) -> None:
        """Run a command within."""
        _run("ip", "netns", "exec", self._name, *command)

    def fall_silent(self) -> None:
        """Unplug its end: whatever is sent there is lost, and nobody is told."""
        self.run("ip", "link", "set", self._far, "down")

    def filter(self, *target: str) -> None:
        """Treat all that comes for the port by a target of iptables."""
        rule = ("INPUT", "-p", "tcp", "--dport", str(PORT), "-j", *target)
        self.run("iptables", "-w", "-A", *rule)

    def unfilter(self) -> None:
        """Let all through."""
        self.run("iptables", "-w", "-F")

    def listen(self) -> socket:
        """Open a socket that listens within; it may be used anywhere in this process."""
        found: list[socket] = []

        def bind() -> None:
            # A thread has a namespace of its own, and this one ends at once.
            with Path(f"/run/netns/{self._name}").open("rb") as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _NETWORK):
                    return
            listening = socket()
            listening.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            listening.bind((self.address, PORT))
            listening.listen()
            found.append(listening)

        binding = threading.Thread(target=bind)
        binding.start()
        binding.join(_SECONDS)
        assert found, "the namespace cannot be entered"
        return found[0]


@contextmanager
def open_namespace() -> Iterator[Namespace]:
    """Make a namespace for the length of a block."""
    namespace = Namespace(os.getpid())
    namespace.open()
    try:
        yield namespace
    finally:
        namespace.close()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
