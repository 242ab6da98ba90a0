"""Conversations of clients with a server through a proxy, and its figures afterwards.

Knows when a proxy is at rest, and that one proxy has many servers, each with figures of its own:
starting one for every conversation would take longer than most of them. Does not know what is said.
"""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from pprint import pformat
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.account import Account, compare, is_idle, read_figures
from tests.support.product import Proxy, is_ready, run_product
from tests.support.programs import START_SECONDS
from tests.support.scrape import Scrape

SETTLE_SECONDS = 5.0
LANES = 10

Conversation = Callable[[Proxy, Account], Coroutine[Any, Any, None]]

SERVER = """\
[[servers]]
name = "{name}"
listen = "127.0.0.1:0"
upstream = "{upstream}"

"""
ADMIN = """\
[admin]
listen = "127.0.0.1:0"

"""
LISTENING = re.compile(r"^([\w-]+): (http://127\.0\.0\.1:\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane(Proxy):
    """One server of a running proxy, used by one conversation only."""

    server: str

    def scrape(self) -> Scrape:
        """Read the metrics of this server, and those of the whole proxy."""
        own = f'server="{self.server}"'.encode()
        lines = self.read().body.splitlines(keepends=True)
        return Scrape.from_text(b"".join(x for x in lines if own in x or b'server="' not in x))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A conversation that is over."""

    account: Account
    metrics: Scrape
    seconds: float
    """How long it took."""

    def seconds_of(self, tool: str, **labels: str) -> float:
        """Return the sum of the durations of a tool's calls."""
        return self.metrics.total("mcp_tool_call_duration_seconds_sum", tool=tool, **labels)


class Stage:
    """Where conversations are held."""

    def __init__(self, proxies: ExitStack) -> None:
        """Start proxies as they are needed; whoever owns ``proxies`` ends them."""
        self._proxies = proxies
        self._lanes: dict[str, list[Lane]] = {}

    def converse(
        self, upstream: str, conversation: Conversation, settings: str = "", *, faults: int = 0
    ) -> Record:
        """Hold a conversation with a server; what the proxy then says equals the clients' ledger.

        With ``settings`` of its own it is held through a proxy of its own. ``faults`` is how many
        exchanges the server breaks.
        """
        if settings:
            with run_lanes(upstream, 1, settings) as (lane,):
                return hold(lane, conversation, faults)
        return hold(self._take(upstream), conversation, faults)

    def _take(self, upstream: str) -> Lane:
        lanes = self._lanes.setdefault(upstream, [])
        if not lanes:
            lanes += self._proxies.enter_context(run_lanes(upstream, LANES))
        return lanes.pop()


def hold(lane: Lane, conversation: Conversation, faults: int) -> Record:
    """Hold a conversation and compare."""
    account = Account()
    started = time.monotonic()
    asyncio.run(conversation(lane, account))
    seconds = time.monotonic() - started
    metrics = come_to_rest(lane, account)
    differences = compare(metrics, account, faults)
    assert not differences, f"metrics and ledger differ:\n{pformat(differences)}"
    return Record(account=account, metrics=metrics, seconds=seconds)


def come_to_rest(proxy: Proxy, account: Account) -> Scrape:
    """Scrape when all has been counted: what a client saw last is counted a moment later."""
    figures = account.figures()
    proxy.scrape_until(
        lambda scrape: is_idle(scrape) and read_figures(scrape) == figures, SETTLE_SECONDS
    )
    return proxy.settle()


async def scrape_until(proxy: Proxy, holds: Callable[[Scrape], bool]) -> Scrape:
    """Scrape in the middle of a conversation, until something holds; within bounds."""
    return await asyncio.to_thread(proxy.scrape_until, holds, SETTLE_SECONDS)


@contextmanager
def run_lanes(upstream: str, count: int, settings: str = "") -> Iterator[list[Lane]]:
    """Run a proxy that has one server many times over, with more settings in its file."""
    names = [f"lane-{number}" for number in range(count)]
    servers = "".join(SERVER.format(name=name, upstream=upstream) for name in names)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "proxy.toml"
        file.write_text(servers + ADMIN + settings)
        with run_product(["run", "--config", str(file)]) as program:
            # The last line of those that tell where it listens.
            program.wait_for_line("metrics: ", START_SECONDS)
            found = dict(LISTENING.findall(program.output))
            admin = found["metrics"]
            program.wait_until(lambda: is_ready(admin), "ready")
            yield [
                Lane(origin=found[name], admin=admin, program=program, server=name)
                for name in names
            ]
    # SIGTERM is how an operator ends it.
    assert program.exit_code == 0, program.output
