"""Whatever breaks upstream: it is told, counted once and over, and the next call is fine."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mcp_proxy_exporter.config import TimeoutSettings
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.proxy.errors import UpstreamReason
from tests.support.fault_messages import GOOD, Request, make_payload, make_result
from tests.support.fault_places import HURRIED, Certificates, Place, find_place
from tests.support.fault_play import METHODS, Seen, call_well, play, warm_up
from tests.support.fault_product import SERVER, Product, count_sockets, run_product
from tests.support.fault_rows import CELLS, ROWS
from tests.support.fault_table import (
    Cell,
    Connection,
    Expected,
    Limit,
    combine,
    expect,
    explain_absence,
)
from tests.support.raw_client import RawClient
from tests.support.scrape import Scrape
from tests.support.waiting import until

SHORT = 0.5
ENDLESS = 0.0


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_a_fault_is_told_counted_and_over(
    cell: Cell, tmp_path: Path, certificates: Certificates
) -> None:
    expected = expect(cell)
    base = count_sockets()
    async with (
        find_place(cell.fault.place, tmp_path, certificates) as place,
        run_product(
            place.url,
            make_timeouts(cell),
            suspended=0.01 if expected.outcomes == ("abandoned",) else 60.0,
            **place.settings,
        ) as product,
        AsyncExitStack() as clients,
    ):
        client = await clients.enter_async_context(RawClient.connecting(product.url))
        await warm_up(cell, place, product, client)
        before = len(place.upstream.heads)
        seen = await play(cell, place, product, client)
        assert len(place.upstream.heads) - before == expected.arrivals
        check_answer(cell, expected, seen)
        scrape = await product.settle()
        assert scrape.value("mcp_upstream_up", server=SERVER) == expected.up
        if not seen.keeps:
            await client.read_eof()
            client = await clients.enter_async_context(RawClient.connecting(product.url))
        await place.mend()
        body = await call_well(place, product, client)
        assert make_result(GOOD).endswith(body)
        assert len(place.upstream.heads) - before == expected.arrivals + 1
        await clients.aclose()
        await check_nothing_is_open(place, product)
        check_counts(cell, expected, await product.settle())
    await until(lambda: count_sockets() == base)


def make_timeouts(cell: Cell) -> TimeoutSettings:
    limit = cell.fault.limit
    return TimeoutSettings(
        connect=SHORT if cell.fault.place in HURRIED else 5.0,
        response_head=SHORT if limit is Limit.RESPONSE_HEAD else ENDLESS,
        total=SHORT if limit is Limit.TOTAL else ENDLESS,
        upstream_idle=60.0,
        drain=0.0,
    )


def check_answer(cell: Cell, expected: Expected, seen: Seen) -> None:
    assert seen.status == expected.status
    assert seen.cut == expected.cut
    assert seen.keeps == expected.keeps_client
    if expected.own:
        assert seen.content_type == b"text/plain; charset=utf-8"
        told = [reason for reason in expected.reasons if f"({reason})".encode() in seen.body]
        assert len(told) == 1
        assert seen.body.startswith(b"mcp-proxy-exporter: ")
    else:
        assert seen.body == cell.fault.body(make_payload(cell.request, cell.answer))


async def check_nothing_is_open(place: Place, product: Product) -> None:
    """The good call left one connection behind, known to both sides; all else is closed."""
    sides = place.upstream.connections
    await until(lambda: sum(not side.is_ended for side in sides) == 1)
    assert product.pool.idle == 1
    assert product.pool.active == 0
    await until(product.is_free)


def check_counts(cell: Cell, expected: Expected, scrape: Scrape) -> None:
    warm = cell.connection is Connection.KEPT
    failures = scrape.table("mcp_upstream_failures_total", ("reason",))
    assert failures in ([{(reason,): 1} for reason in expected.reasons] or [{}])
    calls = {("success",): 1 + warm}
    if expected.outcomes:
        told = [reason for (reason,) in failures]
        outcome = expected.outcomes[expected.reasons.index(told[0]) if told else 0]
        calls[outcome,] = calls.get((outcome,), 0) + 1
    assert scrape.table("mcp_tool_calls_total", ("outcome",)) == calls
    assert scrape.table("mcp_requests_total", ("outcome",)) == calls
    method = METHODS.get(cell.request, "POST")
    exchanges = {("POST", "200"): 1 + warm}
    key = method, str(expected.status)
    exchanges[key] = exchanges.get(key, 0) + 1
    assert scrape.table("mcp_http_requests_total", ("method", "code")) == exchanges
    limits = {(expected.limit.value,): 1} if expected.limit else {}
    assert scrape.table("mcp_proxy_limit_hits_total", ("limit",)) == limits
    for name in (
        "mcp_tool_calls_in_flight",
        "mcp_requests_in_flight",
        "mcp_oldest_request_start_timestamp_seconds",
        "mcp_streams_open",
        "mcp_sessions_active",
        "mcp_late_responses_total",
        "mcp_proxy_inspection_errors_total",
    ):
        assert scrape.total(name) == 0, name
    assert scrape.table("mcp_http_connections", ("side", "state")) == {("upstream", "idle"): 1}
    assert scrape.value("mcp_upstream_up", server=SERVER) == 1


def test_a_combination_is_a_cell_or_left_out_for_a_reason() -> None:
    absent = [cell for cell in combine(ROWS) if explain_absence(cell)]
    assert len(set(map(str, CELLS))) == len(CELLS)
    assert len(CELLS) + len(absent) == len([*combine(ROWS)])
    assert {cell.fault.name for cell in CELLS} == {row.name for row in ROWS}
    assert {cell.request for cell in CELLS} == set(Request)


def test_the_matrix_has_every_reason_and_every_outcome_that_an_upstream_can_cause() -> None:
    expected = [expect(cell) for cell in CELLS]
    assert {reason for one in expected for reason in one.reasons} == set(UpstreamReason)
    assert {outcome for one in expected for outcome in one.outcomes} == set(Outcome) - {
        # Decided by the client, by what a result says, or by the proxy itself.
        Outcome.CANCELLED, Outcome.CLIENT_DISCONNECTED, Outcome.INPUT_REQUIRED, Outcome.REJECTED,
        Outcome.PROXY_SHUTDOWN, Outcome.TASK_CREATED, Outcome.TOOL_ERROR,
    }  # fmt: skip
