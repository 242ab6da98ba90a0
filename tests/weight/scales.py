"""The product on the scales: run as a user does, on a chosen event loop, its memory watched.

Knows processes and what Linux says of their memory; does not know what passes through them.
"""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.soak.process import resident_bytes
from tests.support.product import COMMAND, Proxy, is_ready
from tests.support.programs import POLL_SECONDS, find_free_port, lack, running

KIB = 1024
LOOPS = ("asyncio", "uvloop")
_PREFIX = "MCP_PROXY_EXPORTER__"
_WITHOUT_UVLOOP = (
    "import sys; sys.modules['uvloop'] = None\n"
    "from mcp_proxy_exporter.cli import main; sys.exit(main(sys.argv[1:]))"
)
_SETTLE_SECONDS = 1.0
_RESET_PEAK = "5"
"""What `/proc/PID/clear_refs` takes for "count the peak from now on" (proc(5))."""


def command_of(loop: str) -> Sequence[str]:
    """Give the command that runs the product on an event loop."""
    if loop == "asyncio":
        return [sys.executable, "-c", _WITHOUT_UVLOOP]
    if importlib.util.find_spec("uvloop") is None:
        lack("uvloop is not installed")
    return COMMAND


def environment_of(settings: Mapping[str, object]) -> dict[str, str]:
    """Give this process's environment with these settings of the product and no others."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_PREFIX[:-2])}
    return kept | {_PREFIX + key.upper(): str(value) for key, value in settings.items()}


@contextmanager
def run_on(
    loop: str,
    upstream: str,
    settings: Mapping[str, object],
    listen_tls: Mapping[str, str] | None = None,
) -> Iterator[Proxy]:
    """Run the proxy in front of one server; settings are named as in the environment."""
    port, admin_port = find_free_port(), find_free_port()
    admin = f"http://127.0.0.1:{admin_port}"
    server = {"name": "scales", "upstream": upstream, "listen": f"127.0.0.1:{port}"}
    servers = json.dumps([server | {"listen_tls": listen_tls or {}}])
    environment = environment_of({"servers": servers, **settings})
    arguments = ["run", "--admin", f"127.0.0.1:{admin_port}"]
    with running([*command_of(loop), *arguments], environment) as program:
        program.wait_until(lambda: is_ready(admin), "ready")
        yield Proxy(origin=f"http://127.0.0.1:{port}", admin=admin, program=program)
    assert program.exit_code == 0, program.output
    assert "Traceback" not in program.output, program.output


def rest(pid: int) -> int:
    """Wait until a process's memory stays as it is, but not for long; give it in bytes."""
    deadline = time.monotonic() + 5 * _SETTLE_SECONDS
    before = resident_bytes(pid)
    while time.monotonic() < deadline:
        time.sleep(_SETTLE_SECONDS)
        after = resident_bytes(pid)
        if after == before:
            break
        before = after
    return before


def peak_bytes(pid: int) -> int:
    """Give the most memory that a process had since `reset_peak` (``VmHWM``)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * KIB
    raise ValueError(f"process {pid} has no memory any more")


def reset_peak(pid: int) -> None:
    """Let the system count the peak from what a process has now."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)


def wait_for(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not {what} after {seconds} s"
        time.sleep(POLL_SECONDS)
