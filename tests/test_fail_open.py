"""I1: whatever breaks behind the tap costs a number and a line in the log, never a byte."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NoReturn

import aiohttp
import pytest

from mcp_proxy_exporter.observe.custom import CustomMetric
from mcp_proxy_exporter.observe.metrics import ServerMetrics
from mcp_proxy_exporter.protocol.events import CallClosed
from mcp_proxy_exporter.protocol.exchange import ExchangeInspector
from mcp_proxy_exporter.protocol.inspector import Inspector
from tests.support.messages import LAST_CHUNK, chunk
from tests.support.raw_client import RawClient
from tests.support.scrape import Scrape
from tests.support.scripted_upstream import CLOSE, ScriptedUpstream
from tests.test_app import ANSWER, CALL, RESULT, build_server, build_settings, running, scrape

ERRORS = "mcp_proxy_inspection_errors_total"
CANARY = "canary-6f1c"
POST = b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
PIECES = [CALL[:20], CALL[20:]]
CHUNKED_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
FAULTS = [RuntimeError(CANARY), RecursionError(CANARY), MemoryError(CANARY), KeyError(CANARY)]


def break_at(
    monkeypatch: pytest.MonkeyPatch, owner: type[Any], name: str, at: int, error: Exception
) -> list[int]:
    """Let the call of this number fail; give the list that counts the calls."""
    whole: Callable[..., Any] = getattr(owner, name)
    calls: list[int] = []

    def step(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            raise error
        return whole(*arguments)

    monkeypatch.setattr(owner, name, step)
    return calls


async def talk(upstream: ScriptedUpstream, url: str, number: int) -> None:
    """Make a call in one piece and one in several; what arrives must be exact on both sides."""
    async with RawClient.connecting(url) as client:
        upstream.answer(ANSWER)
        whole = POST + b"Content-Length: %d\r\n\r\n%b" % (len(CALL), CALL)
        await client.send(whole)
        assert (await client.read_response()).body == RESULT
        assert upstream.requests[2 * number].body == CALL

        async def speak(side: Any) -> None:
            for piece in (RESULT[:9], RESULT[9:]):
                await side.write(chunk(piece))
                await asyncio.sleep(0.005)
            await side.write(LAST_CHUNK)

        upstream.answer(CHUNKED_ANSWER, speak)
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in PIECES:
            await asyncio.sleep(0.005)
            await client.send(chunk(piece))
        await client.send(LAST_CHUNK)
        answer = await client.read_response()
        assert answer.body == RESULT
        assert upstream.requests[2 * number + 1].body == CALL


STEPS = [
    (Inspector, "open", "open"),
    (ExchangeInspector, "request", "request"),
    (ExchangeInspector, "request_data", "request"),
    (ExchangeInspector, "request_end", "request"),
    (ExchangeInspector, "response", "response"),
    (ExchangeInspector, "response_head", "response"),
    (ExchangeInspector, "response_data", "response"),
    (ExchangeInspector, "response_end", "response"),
    (ServerMetrics, "handle", "sink"),
]


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("owner", "name", "stage"), STEPS, ids=str)
async def test_fault_at_any_step_is_counted_once_and_the_next_call_is_seen(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: type[Any],
    name: str,
    stage: str,
    error: Exception,
) -> None:
    caplog.set_level(logging.DEBUG)
    calls = break_at(monkeypatch, owner, name, 1, error)
    async with (
        aiohttp.ClientSession() as http,
        ScriptedUpstream.running() as upstream,
        running(build_settings(build_server(upstream.url))) as service,
    ):
        [url] = service.addresses("cats")
        await talk(upstream, url, 0)
        broken = await scrape(http, service)
        assert calls
        await talk(upstream, url, 1)
        after = await scrape(http, service)
    assert broken.total(ERRORS) == broken.total(ERRORS, stage=stage) == 1
    assert after.total(ERRORS) == 1
    assert after.total("mcp_http_requests_total") >= 3
    answered = [one.total("mcp_requests_total", outcome="tool_error") for one in (broken, after)]
    assert answered[1] - answered[0] == 2
    assert after.total("mcp_requests_in_flight") == 0
    [line] = [record for record in caplog.records if "inspection failed" in record.getMessage()]
    assert f"at stage {stage}," in line.getMessage()
    assert f"{type(error).__name__} at tests/test_fail_open.py:" in line.getMessage()
    assert CANARY not in caplog.text


async def test_fault_at_every_step_at_once_costs_all_figures_and_no_byte(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError(CANARY)

    for owner, name, _ in STEPS[1:]:
        monkeypatch.setattr(owner, name, fail)
    for name in ("sweep", "close"):
        monkeypatch.setattr(Inspector, name, fail)
    monkeypatch.setattr(ExchangeInspector, "aborted", fail)
    monkeypatch.setattr("mcp_proxy_exporter.app._SWEEP", 0.01)
    async with (
        aiohttp.ClientSession() as http,
        ScriptedUpstream.running() as upstream,
        running(build_settings(build_server(upstream.url))) as service,
    ):
        [url] = service.addresses("cats")
        for number in range(20):
            await talk(upstream, url, number)
        figures = await scrape(http, service)
    assert figures.total(ERRORS, stage="request") == 40
    assert figures.total(ERRORS, stage="sweep") > 0
    lines = [record.getMessage() for record in caplog.records]
    stages = [line.split(" stage ")[1].split(",")[0] for line in lines if " stage " in line]
    assert len(stages) == len(set(stages)) < 8
    assert CANARY not in caplog.text


async def test_fault_of_a_custom_metric_costs_a_sample_and_no_other_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> NoReturn:
        raise RecursionError(CANARY)

    monkeypatch.setattr(CustomMetric, "count", fail)
    custom = {"name": "naps_total", "type": "counter", "when": "arguments"}
    settings = build_settings(build_server(), metrics={"custom": [custom]})
    async with (
        aiohttp.ClientSession() as http,
        ScriptedUpstream.running() as upstream,
        running(build_settings(build_server(upstream.url), metrics=settings.metrics)) as service,
    ):
        await talk(upstream, service.addresses("cats")[0], 0)
        figures = await scrape(http, service)
    assert figures.total("mcp_requests_total", outcome="tool_error") == 2
    assert figures.total("mcp_tool_calls_total", outcome="tool_error") == 2
    assert figures.total(ERRORS, stage="sink") == 2


async def test_fault_in_the_end_of_a_broken_exchange_is_one_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_at(monkeypatch, ExchangeInspector, "aborted", 1, RuntimeError(CANARY))
    async with (
        aiohttp.ClientSession() as http,
        ScriptedUpstream.running() as upstream,
        running(build_settings(build_server(upstream.url))) as service,
    ):
        upstream.answer(CLOSE)
        async with RawClient.connecting(service.addresses("cats")[0]) as client:
            await client.send(POST + b"Content-Length: %d\r\n\r\n%b" % (len(CALL), CALL))
            assert (await client.read_response()).status == 502
        figures: Scrape = await scrape(http, service)
    assert figures.total(ERRORS) == figures.total(ERRORS, stage="abort") == 1


async def test_nothing_is_looked_at_where_inspection_is_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I7: no tap is built."""
    calls = break_at(monkeypatch, Inspector, "open", 0, RuntimeError())
    settings = build_settings(build_server(), inspection={"enabled": False})
    async with (
        aiohttp.ClientSession() as http,
        ScriptedUpstream.running() as upstream,
        running(
            build_settings(build_server(upstream.url), inspection=settings.inspection)
        ) as service,
    ):
        await talk(upstream, service.addresses("cats")[0], 0)
        figures = await scrape(http, service)
    assert not calls
    assert figures.total("mcp_requests_total") == 0
    assert figures.total(ERRORS) == 0


async def test_event_of_a_call_that_a_sink_refuses_is_lost_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = ServerMetrics.handle

    def handle(metrics: ServerMetrics, event: Any) -> None:
        if isinstance(event, CallClosed):
            raise KeyError(CANARY)
        whole(metrics, event)

    monkeypatch.setattr(ServerMetrics, "handle", handle)
    async with (
        aiohttp.ClientSession() as http,
        ScriptedUpstream.running() as upstream,
        running(build_settings(build_server(upstream.url))) as service,
    ):
        await talk(upstream, service.addresses("cats")[0], 0)
        figures = await scrape(http, service)
    assert figures.total(ERRORS, stage="sink") == 2
    assert figures.total("mcp_http_requests_total") == 2
