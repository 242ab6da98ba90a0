"""HAProxy before two replicas of the proxy: the recipe of docs/deployment.md, at a test's pace.

Reads the recipe itself and changes nothing but addresses, the pace of the checks and the log. Knows
HAProxy; does not know calls.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import Program, find_free_port, find_tool, is_listening, running

CHECK_SECONDS = 0.1
"""Between two looks at a replica's readiness."""

_DOCUMENT = Path(__file__).parents[2] / "docs" / "deployment.md"
_RECIPE = re.compile(r"```haproxy\n(.*?)```", re.DOTALL)
_LOG = "global\n    log stdout format raw local0\n\ndefaults\n    log global\n    option httplog\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """Where a replica listens, whichever process it is."""

    name: str
    port: int
    admin_port: int

    @property
    def admin(self) -> str:
        """The origin of its metrics."""
        return f"http://127.0.0.1:{self.admin_port}"


def make_replica(name: str) -> Replica:
    """Find ports for a replica."""
    return Replica(name=name, port=find_free_port(), admin_port=find_free_port())


@contextmanager
def run_balancer(folder: Path, replicas: Sequence[Replica]) -> Iterator[tuple[Program, str]]:
    """Run HAProxy; give it and its origin."""
    port = find_free_port()
    changes = {
        "defaults\n": _LOG,
        "bind :80\n": f"bind 127.0.0.1:{port}\n",
        "inter 1s": f"inter {CHECK_SECONDS * 1000:.0f}ms",
    }
    for number, replica in enumerate(replicas, 1):
        here = f"127.0.0.1:{replica.port} port {replica.admin_port}"
        changes[f"10.0.0.{number}:8080"] = here
    [recipe] = _RECIPE.findall(_DOCUMENT.read_text())
    for written, meant in changes.items():
        assert recipe.count(written) == 1, written
        recipe = recipe.replace(written, meant)
    file = folder / "haproxy.cfg"
    file.write_text(recipe)
    with running([find_tool("haproxy", "/usr/sbin/haproxy"), "-db", "-f", str(file)]) as program:
        program.wait_until(lambda: is_listening(port), "listening")
        yield program, f"http://127.0.0.1:{port}"
