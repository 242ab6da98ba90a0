"""slowhttptest against the proxy while a good client calls a tool: neither waits for the slow ones.

Knows the five ways to be slow, which of them the proxy ends and by which limit, and how
slowhttptest reports. Does not know how the proxy keeps its deadlines.
"""

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from tests.support.product import Proxy, run_configured
from tests.support.programs import find_free_port, running
from tests.support.rpc_client import build_call, build_modern_headers, post
from tests.torture.echo import LARGE, run_echo
from tests.torture.scratch import find
from tests.torture.verdict import Verdict

NAME = "slowhttptest"
TOOL = "torture"

# Of clients; much shorter than anyone would set them, so that this takes a minute.
LIMIT_SECONDS = 3
# Longer than the limit, so that a client that is only heard of this often is cut.
PAUSE_SECONDS = 6
# By then all that have a deadline are gone; several times the limit, for the sake of busy machines.
TEST_SECONDS = 20
DRIP_SECONDS = 8
# Until all are there: what slows the good calls shall be slow connections, not a rush of new ones.
CONNECT_SECONDS = 2
STOP_SECONDS = 30.0
ALONE_SECONDS = 3.0

MOST_SECONDS = 0.1
"""What 99 of 100 good calls may take. The same calls by a second proxy, which nobody attacks, are
told beside it: they show what the machine itself costs."""
CALL_PAUSE_SECONDS = 0.005

LIMITS = ("client_head", "client_body", "client_write")

COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ENDED = re.compile(r"Test ended on (\d+)")
ALL_CLOSED = "No open connections left"
UNAVAILABLE = re.compile(r"service available:\s+NO")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One way to be slow."""

    name: str
    connections: int
    options: tuple[str, ...]
    seconds: int = TEST_SECONDS
    limit: str = ""
    """The limit that has to end each connection."""
    spared: bool = False
    """The proxy promises to cut nobody."""
    target: str = "/"


ATTACKS = (
    Attack(
        name="-H slow heads",
        connections=200,
        # However steadily it drips: the limit is that of the whole head.
        options=("-H", "-i", "1"),
        limit="client_head",
    ),
    Attack(
        name="-B stuck bodies",
        connections=100,
        options=("-B", "-s", "65536", "-i", str(PAUSE_SECONDS)),
        limit="client_body",
    ),
    Attack(
        name="-B dripping bodies",
        connections=200,
        options=("-B", "-s", "65536", "-i", "1"),
        seconds=DRIP_SECONDS,
        spared=True,
    ),
    Attack(
        name="-X stuck readers",
        connections=50,
        # It sees that it was cut once it has read what came before, in one go.
        options=("-X", "-n", str(PAUSE_SECONDS), "-w", "512", "-y", "1024", "-z", "4096"),
        limit="client_write",
        target=LARGE,
    ),
    Attack(
        name="-X dripping readers",
        connections=50,
        # With windows below loopback's segments TCP itself may take nothing for seconds, as it
        # sends what was dropped again ever more rarely. So a few may be cut, and rightly.
        options=("-X", "-n", "1", "-w", "16384", "-y", "65536", "-z", "32768"),
        seconds=DRIP_SECONDS,
        target=LARGE,
    ),
)


@dataclass(frozen=True, slots=True)
class Calls:
    """What a good client met at one proxy."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def slowest(self) -> float:
        """What 99 of 100 calls did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[int(len(ordered) * 0.99)] if ordered else float("inf")

    def __str__(self) -> str:
        ordered = sorted(self.seconds) or [float("inf")]
        median, slowest, longest = (
            f"{seconds * 1000:.1f}"
            for seconds in (ordered[len(ordered) // 2], self.slowest, ordered[-1])
        )
        return f"{len(self.seconds)} good calls p50 {median} p99 {slowest} max {longest} ms"


@dataclass(frozen=True, slots=True)
class Client:
    """A good client, which calls a tool at two proxies in turn."""

    origin: str
    """Of the one that is attacked."""
    spare: str
    """Of the one that shows how the machine does meanwhile."""

    def call_while(self, holds: Callable[[], bool]) -> tuple[Calls, Calls]:
        """Call, one call after the other, each on a connection of its own."""
        attacked, spare = Calls(), Calls()
        while holds():
            for origin, calls in ((self.origin, attacked), (self.spare, spare)):
                call(origin, calls)
                time.sleep(CALL_PAUSE_SECONDS)
        return attacked, spare


@contextmanager
def run_impatient_proxy(upstream: str) -> Iterator[tuple[Proxy, str]]:
    """Run the proxy with short limits of clients; yield it and its origin."""
    port, admin = find_free_port(), f"127.0.0.1:{find_free_port()}"
    settings = f"""
        [[servers]]
        upstream = "{upstream}"
        listen = "127.0.0.1:{port}"
        [admin]
        listen = "{admin}"
        [timeouts]
        client_head = {LIMIT_SECONDS}
        client_body = {LIMIT_SECONDS}
        client_write = {LIMIT_SECONDS}
    """
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        file = Path(folder) / "proxy.toml"
        file.write_text(settings)
        with run_configured(file, f"http://{admin}") as proxy:
            yield proxy, f"http://127.0.0.1:{port}"


def call(origin: str, calls: Calls) -> None:
    """Call a tool and note how that went."""
    begun = time.perf_counter()
    try:
        message = build_call(TOOL, {}, modern=True)
        with post(origin, message, build_modern_headers(TOOL)) as connection:
            response = connection.getresponse()
            body = response.read()
    except (OSError, HTTPException) as error:
        calls.failures.append(repr(error))
        return
    calls.seconds.append(time.perf_counter() - begun)
    if response.status != 200 or b'"result"' not in body:
        calls.failures.append(f"{response.status}: {body[:200]!r}")


def judge_calls(attacked: Calls, spare: Calls) -> list[str]:
    """Return what is wrong with the good calls."""
    problems = [f"a good call failed: {failure}" for failure in attacked.failures + spare.failures]
    if not attacked.slowest < MOST_SECONDS:
        problems.append(f"good calls were slow: {attacked}, by the spare proxy {spare}")
    return problems


def check() -> Iterator[Verdict]:
    """Call without slow clients, then beside each kind of them."""
    tool = find("slowhttptest", "slowhttptest")
    with (
        run_echo() as upstream,
        run_impatient_proxy(upstream) as (proxy, origin),
        run_echo() as spare_upstream,
        run_impatient_proxy(spare_upstream) as (_, spare_origin),
    ):
        client = Client(origin, spare_origin)
        until = time.monotonic() + ALONE_SECONDS
        attacked, spare = client.call_while(lambda: time.monotonic() < until)
        yield Verdict(
            suite=f"{NAME} none",
            figures=f"{attacked}; spare proxy: {spare}",
            problems=tuple(judge_calls(attacked, spare)),
        )
        for attack in ATTACKS:
            yield check_one(attack, tool, proxy, client)


def check_one(attack: Attack, tool: str, proxy: Proxy, client: Client) -> Verdict:
    """Run slowhttptest and the good client side by side."""
    count, rate = str(attack.connections), str(attack.connections // CONNECT_SECONDS)
    argv = [tool, *attack.options, "-c", count, "-r", rate, "-l", str(attack.seconds)]
    before = proxy.settle()
    until = time.monotonic() + attack.seconds + STOP_SECONDS
    with running([*argv, "-u", f"{client.origin}{attack.target}"]) as program:
        calls, spare = client.call_while(
            lambda: program.exit_code is None and time.monotonic() < until
        )
        code = program.exit_code
        if code is not None:
            program.wait_for_exit(STOP_SECONDS)
        output = COLOUR.sub("", program.output)
    # Nobody is left behind either.
    after = proxy.scrape_until(
        lambda scrape: not scrape.total("mcp_http_connections", side="client"), STOP_SECONDS
    )
    problems = judge_calls(calls, spare)
    if code != 0 or UNAVAILABLE.search(output):
        problems.append(f"{argv}: exit status {code}; it wrote:\n{output}")
    if left := after.total("mcp_http_connections", side="client"):
        problems.append(f"{left:.0f} connections are left")

    def gain(name: str, **labels: str) -> int:
        return int(after.total(name, **labels) - before.total(name, **labels))

    if (counted := gain("mcp_tool_calls_total", outcome="success")) != len(calls.seconds):
        problems.append(f"{len(calls.seconds)} calls were made and {counted} counted")
    ended = ENDED.search(output)
    if attack.limit:
        cut = gain("mcp_proxy_limit_hits_total", limit=attack.limit)
        if cut < attack.connections or ALL_CLOSED not in output:
            problems.append(f"{cut} of {count} connections were cut; it wrote:\n{output}")
        second = ended[1] if ended else "?"
        fate = f"{cut} cut by {attack.limit}, all gone in second {second}"
    else:
        cut = sum(gain("mcp_proxy_limit_hits_total", limit=limit) for limit in LIMITS)
        if cut and attack.spared:
            problems.append(f"{cut} connections were cut")
        fate = f"{cut} cut"
    return Verdict(
        suite=f"{NAME} {attack.name}",
        figures=f"{count} slow connections, {fate}; {calls}; spare proxy: {spare}",
        problems=tuple(problems),
    )
