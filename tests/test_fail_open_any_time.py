"""Whenever anything breaks behind the tap, once, no byte is lost and the next calls are counted."""

from typing import Any

import aiohttp
import pytest

from mcp_proxy_exporter.observe.calls import CallMetrics
from mcp_proxy_exporter.observe.http import HttpMetrics
from mcp_proxy_exporter.observe.messages import MessageMetrics
from mcp_proxy_exporter.observe.metrics import ServerMetrics
from mcp_proxy_exporter.observe.tools import ToolMetrics
from mcp_proxy_exporter.protocol.exchange import ExchangeInspector
from mcp_proxy_exporter.protocol.inspector import Inspector
from tests.support.scrape import Scrape
from tests.support.scripted_upstream import ScriptedUpstream
from tests.test_app import build_server, build_settings, running, scrape
from tests.test_fail_open import CANARY, ERRORS, break_at, talk

ROUNDS = 2
"""Talks before the last one, each of two calls, during one of which something breaks."""

LOOKING = [
    (Inspector, "open"),
    (ExchangeInspector, "request"),
    (ExchangeInspector, "request_data"),
    (ExchangeInspector, "request_end"),
    (ExchangeInspector, "response"),
    (ExchangeInspector, "response_head"),
    (ExchangeInspector, "response_data"),
    (ExchangeInspector, "response_end"),
]
COUNTING = [
    (ServerMetrics, "handle"),
    (CallMetrics, "opened"),
    (CallMetrics, "closed"),
    (MessageMetrics, "seen"),
    (HttpMetrics, "closed"),
    (ToolMetrics, "opened"),
    (ToolMetrics, "closed"),
]
FAULTS = [RuntimeError, RecursionError, MemoryError]


async def hold_talks(broken: dict[str, Any] | None = None) -> tuple[Scrape, Scrape]:
    """Talk a few times, and once more; give the figures before and after the last time."""
    async with (
        aiohttp.ClientSession() as http,
        ScriptedUpstream.running() as upstream,
        running(build_settings(build_server(upstream.url))) as service,
    ):
        [url] = service.addresses("cats")
        for number in range(ROUNDS):
            await talk(upstream, url, number)
        before = await scrape(http, service)
        if broken is not None:
            broken["at most"] = broken["calls"][:]
        await talk(upstream, url, ROUNDS)
        return before, await scrape(http, service)


@pytest.mark.parametrize(("owner", "name"), [*LOOKING, *COUNTING], ids=str)
async def test_fault_at_any_time_is_one_fault_and_the_next_calls_are_seen(
    owner: type[Any], name: str
) -> None:
    at = times = 1
    while at <= times:
        with pytest.MonkeyPatch.context() as patch:
            fault = FAULTS[at % len(FAULTS)](CANARY)
            told = {"calls": break_at(patch, owner, name, at, fault)}
            before, after = await hold_talks(told)
        times = len(told["at most"])
        lost = (owner, name) in COUNTING
        # The end of a call whose beginning was lost is refused, which is a fault of its own.
        assert 1 <= before.total(ERRORS) == after.total(ERRORS) <= 1 + lost, at
        for family, count in (("mcp_requests_total", 2), ("mcp_http_requests_total", 2)):
            assert after.total(family) - before.total(family) == count, (family, at)
        # What was lost is the figures of one exchange.
        assert before.total("mcp_requests_total") >= 2 * ROUNDS - 1, at
        assert 0 <= after.total("mcp_requests_in_flight") <= lost, at
        assert 0 <= after.total("mcp_tool_calls_in_flight") <= lost, at
        at += 1
    assert times >= ROUNDS
