"""What the pictures show: four servers, their clients, and two incidents.

Knows who does what and when; does not know the boards. All of it is real: the proxy, its servers
and clients, Prometheus and the rules that come with the project.
"""

import asyncio
import itertools
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from mcp_proxy_exporter.demo.clients import run_clients
from mcp_proxy_exporter.demo.server import PATH, CatServer
from tests.grafana.engine import serve_folder
from tests.grafana.keepers import MODERN, TRACED, Keeper
from tests.grafana.world import CATS_METRICS
from tests.grafana.zoo import MESSAGE_LIMIT, TIME_LIMIT
from tests.support.product import run_configured
from tests.support.programs import find_free_port
from tools.boards.service import LIBRARY, WEATHER, CalmZoo, Service

SCRAPE_SECONDS = 5
INSTANCE = "gateway:10464"
"""What Prometheus calls the exporter: its real port is another one each time."""
WARM_UP = 30.0
"""Seconds of traffic before the time range of the pictures."""
HALF_MINUTE = 30
TRACED_SHARE = 0.02
"""Of the calls, as those who trace sample them."""
RULES = Path(__file__).parents[2] / "prometheus" / "rules"

BAD_TIME = (0.35, 0.45)
"""When much goes wrong in the zoo, in shares of the run."""
OUTAGE = 0.72
"""When the weather service goes away, to stay away."""

PROMETHEUS = """\
global: {{scrape_interval: {interval}s, evaluation_interval: {interval}s}}
rule_files: ["{rules}/*.yml"]
scrape_configs:
  - job_name: mcp-proxy-exporter
    static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{instance: "{instance}"}}}}]
"""
SERVER = """\
[[servers]]
name = "{name}"
listen = "127.0.0.1:{port}"
upstream = "{upstream}"
host_header = "upstream"

"""
SETTINGS = """\
[admin]
listen = "127.0.0.1:{admin}"

[timeouts]
response_head = {time_limit}

[inspection]
max_message_bytes = {message_limit}
suspended_seconds = 1

[metrics]
max_clients = 6

[[outcomes.soft_errors]]
tools = ["shrug"]
when = "result.structuredContent.success == `false`"
reason = "result.structuredContent.error_code"

[[metrics.custom]]
name = "library_loans_total"
type = "counter"
help = "Books that were lent."
tools = ["lend_book"]
when = "outcome == 'success'"

[[metrics.custom]]
name = "library_search_hits"
type = "histogram"
help = "Books that a search found."
tools = ["search_books"]
value = "result.structuredContent.number"
buckets = [1, 5, 10, 20, 50]

[[metrics.custom]]
name = "library_books_on_loan"
type = "gauge"
help = "Books that readers have at home."
tools = ["lend_book"]
value = "result.structuredContent.number"

[[metrics.custom]]
name = "zoo_bananas"
type = "summary"
help = "Bananas that no tool ever mentions."
tools = ["work"]
servers = ["zoo"]
value = "result.structuredContent.bananas"

"""

Acts = Mapping[str, float]
"""How often something is done per second: a tool is called, or what has a name of its own."""

AT_THE_LIBRARY: Acts = {
    "search_books": 1.6,
    "read_page": 2.4,
    "lend_book": 0.5,
    "return_book": 0.35,
    "borrow_bok": 0.02,
    "list": 0.05,
    "arrive": 0.03,
}
IN_THE_RAIN: Acts = {"forecast": 1.2, "warnings": 0.6, "list": 0.05}
AT_THE_ZOO: Acts = {
    "work": 2.5,
    "files.read": 0.8,
    "complain": 0.12,
    "shrug": 0.15,
    "refuse": 0.06,
    "ask": 0.25,
    "answer": 0.25,
    "crash": 0.03,
    "babble": 0.01,
    "withdraw": 0.05,
    "stall": 0.02,
    "drop": 0.015,
    "bulky": 0.06,
    "linger": 0.06,
    "guarded": 0.03,
    "vanish": 0.01,
    "repeat": 0.4,
    "consult": 0.2,
    "delegate": 0.3,
    "visit": 0.12,
    "complete": 0.15,
    "list": 0.1,
    "arrive": 0.02,
}
BAD: Acts = {"crash": 30, "stall": 25, "drop": 12}
"""What happens so many times as often in the bad time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The time range of a run, in Unix seconds; the rest is in Prometheus' data."""

    start: float
    end: float


class Guest(Keeper):
    """A client that does things at random moments, so often on average."""

    def __init__(self, http: aiohttp.ClientSession, url: str, name: str, seconds: float) -> None:
        super().__init__(http, url)
        self._who = {"name": name, "version": "2.4"}
        self._seconds = seconds
        self._born = time.monotonic()
        self._names = itertools.count(1)
        self._special: Mapping[str, Callable[[], Awaitable[object]]] = {
            "answer": lambda: self.call("ask", inputResponses={"who": {"action": "decline"}}),
            "linger": lambda: self.call("linger", patience=0.2),
            "guarded": lambda: self.call("guarded", host="evil.test"),
            "vanish": lambda: self._call_in_session("vanish"),
            "repeat": lambda: self._call_in_session("repeat"),
            "consult": self._consult,
            "delegate": self._delegate,
            "visit": self._come_and_go,
            "complete": lambda: self._ask(MODERN, "completion/complete", {}, who=self._who),
            "list": lambda: self._ask(MODERN, "tools/list", {}, who=self._who),
            "arrive": self._arrive,
        }

    async def live(self, acts: Acts, *, with_session: bool) -> None:
        """Do everything until the time is over."""
        await self._ask(MODERN, "server/discover", {}, who=self._who)
        await self._ask(MODERN, "tools/list", {}, who=self._who)
        stream = None
        if with_session:
            self._session = await self._open_session(self._who["name"])
            stream = asyncio.create_task(self._read_stream(self._session))
        async with asyncio.TaskGroup() as group:
            for name, rate in acts.items():
                group.create_task(self._repeat(group, name, rate))
        if stream is not None:
            stream.cancel()
            await asyncio.wait([stream])

    async def _repeat(self, group: asyncio.TaskGroup, name: str, rate: float) -> None:
        act = self._special.get(name, lambda: self.call(name))
        while (progress := (time.monotonic() - self._born) / self._seconds) < 1:
            tide = 1 + 0.4 * math.sin(2 * math.pi * progress - 1)
            bad = BAD.get(name, 1) if BAD_TIME[0] < progress < BAD_TIME[1] else 1
            # Near ends the pause is short, so that changes of the rate are seen in time.
            pause = self._chance.expovariate(rate * tide * bad)
            if pause > self._seconds / 50:
                await asyncio.sleep(self._seconds / 50)
                continue
            await asyncio.sleep(pause)
            group.create_task(_finish(act()))

    async def _post(
        self, message: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Mapping[str, str]:
        if self._chance.random() >= TRACED_SHARE:
            headers = {name: value for name, value in headers.items() if name not in TRACED}
        return await super()._post(message, headers)

    async def _arrive(self) -> None:
        """Come as a client of a new name, of which there may be too many."""
        who = {"name": f"script-{next(self._names)}", "version": "1"}
        await self._ask(MODERN, "server/discover", {}, who=who)


async def _finish(act: Awaitable[object]) -> None:
    with suppress(aiohttp.ClientError, OSError):
        await act


def record(folder: Path, seconds: float) -> None:
    """Let it all happen for so long; leave Prometheus' data and the `Recording` in the folder."""
    folder.mkdir(parents=True)
    port = find_free_port()
    configured = PROMETHEUS.format(
        interval=SCRAPE_SECONDS, rules=RULES, port=port, instance=INSTANCE
    )
    (folder / "prometheus.yml").write_text(configured)
    with serve_folder(folder):
        recording = asyncio.run(_live(folder, port, seconds))
    (folder / "recording.json").write_text(json.dumps(asdict(recording)))


def read_recording(folder: Path) -> Recording:
    """Return the time range of a run."""
    return Recording(**json.loads((folder / "recording.json").read_text()))


async def _live(folder: Path, admin: int, seconds: float) -> Recording:
    weather = Service("weather", WEATHER)
    servers: dict[str, CatServer | Service] = {
        "cats": CatServer(),
        "library": Service("library", LIBRARY),
        "weather": weather,
        "zoo": CalmZoo(),
    }
    ports = {name: find_free_port() for name in servers}
    text = ""
    for name, server in servers.items():
        await server.start()
        text += SERVER.format(name=name, port=ports[name], upstream=server.origin)
    text += SETTINGS.format(admin=admin, time_limit=TIME_LIMIT, message_limit=MESSAGE_LIMIT)
    file = folder / "proxy.toml"
    file.write_text(text + CATS_METRICS.read_text())
    proxy = run_configured(file, f"http://127.0.0.1:{admin}")
    await asyncio.to_thread(proxy.__enter__)
    try:
        return await _drive(ports, seconds, weather)
    finally:
        await asyncio.to_thread(proxy.__exit__, None, None, None)
        for server in servers.values():
            await server.stop()


async def _drive(ports: Mapping[str, int], seconds: float, weather: Service) -> Recording:
    urls = {name: f"http://127.0.0.1:{port}{PATH}" for name, port in ports.items()}
    stop = asyncio.Event()
    start = time.time()
    connector = aiohttp.TCPConnector(limit=0)
    patient = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=patient) as http,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(run_clients(urls["cats"], stop))
        group.create_task(_end_after(weather, seconds * OUTAGE))
        for server, name, acts in (
            ("library", "reading-agent", AT_THE_LIBRARY),
            ("weather", "travel-agent", IN_THE_RAIN),
            ("zoo", "keeper", AT_THE_ZOO),
        ):
            guest = Guest(http, urls[server], name, seconds)
            group.create_task(guest.live(acts, with_session=server == "zoo"))
        await asyncio.sleep(seconds)
        # It has been scraped, and is no full minute, whose label would stick out of the graphs.
        end = (time.time() - SCRAPE_SECONDS - HALF_MINUTE) // 60 * 60 + HALF_MINUTE
        stop.set()
    return Recording(start=(start + WARM_UP) // SCRAPE_SECONDS * SCRAPE_SECONDS, end=end)


async def _end_after(server: Service, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await server.stop()
