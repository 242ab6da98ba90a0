"""The operator's listener: what it answers, what it never shows."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest

from mcp_proxy_exporter import __version__
from mcp_proxy_exporter.admin import AdminServer, Line, Page, write_index
from mcp_proxy_exporter.config import TcpAddress
from tests.support.programs import find_free_port, is_listening

METRICS = b"# HELP cats Cats.\n# TYPE cats gauge\ncats 3\n"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ANY_PORT = TcpAddress("127.0.0.1", 0)
WAIT = 5.0


@dataclass(slots=True)
class Operator:
    """A running admin listener, what it is told, and a client that asks it."""

    http: aiohttp.ClientSession
    url: str = ""
    ready: bool = True
    metrics: bytes = METRICS
    accepted: list[str] = field(default_factory=list)

    async def render(self, accept: str, compress: bool) -> Page:  # noqa: FBT001  # a callback
        self.accepted.append(accept)
        if compress:
            body = gzip.compress(self.metrics)
            return Page(body=body, content_type=CONTENT_TYPE, content_encoding="gzip")
        return Page(body=self.metrics, content_type=CONTENT_TYPE)

    async def ask(
        self, path: str, method: str = "GET", **fields: str
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        async with self.http.request(method, self.url + path, headers=fields) as answer:
            return answer, await answer.read()


@asynccontextmanager
async def operate(
    render: Callable[[str, bool], Awaitable[Page]] | None = None,
    address: TcpAddress = ANY_PORT,
) -> AsyncIterator[Operator]:
    """Run an admin listener."""
    timeout = aiohttp.ClientTimeout(total=WAIT)
    session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
    async with session as http:
        operator = Operator(http)
        line = Line(name="<cats>", listens=["http://a", "http://b"], upstream="http://c&d")
        server = AdminServer(
            address,
            render=render or operator.render,
            ready=lambda: operator.ready,
            servers=lambda: [line],
        )
        await server.start()
        try:
            operator.url = server.url
            yield operator
        finally:
            await server.stop()


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    async with operate() as operator:
        yield operator


async def test_metrics_are_those_that_were_rendered_for_the_accept_header(
    operator: Operator,
) -> None:
    accept = "application/openmetrics-text"
    answer, body = await operator.ask("/metrics", Accept=accept, **{"Accept-Encoding": "identity"})
    assert answer.status == 200
    assert body == METRICS
    assert answer.headers["Content-Type"] == CONTENT_TYPE
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    assert "Content-Encoding" not in answer.headers
    assert operator.accepted == ["application/openmetrics-text"]


async def test_head_answers_like_get_without_a_body(operator: Operator) -> None:
    for path in ("/", "/metrics", "/livez", "/readyz"):
        get, content = await operator.ask(path)
        head, nothing = await operator.ask(path, "HEAD")
        assert nothing == b""
        assert head.status == get.status == 200
        assert int(head.headers["Content-Length"]) == len(content)


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=1.0", True),
        ("gzip;q=0.001", True),
        ("x-gzip", True),
        ("deflate, *;q=0.1", True),
        ("gzip;q=1, identity;q=0.5", True),
        ("gzip; q=0.5, identity; q=0.5", True),
        ("gzip;level=1", True),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("gzip;q=1.5", False),
        ("gzip;q=nan", False),
        ("gzip;q", False),
        ("", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0.", False),
        ("identity", False),
        ("br", False),
    ],
)
async def test_metrics_are_compressed_for_who_asks(
    operator: Operator, accepted: str, *, compressed: bool
) -> None:
    answer, body = await operator.ask("/metrics", **{"Accept-Encoding": accepted})
    assert answer.headers.get("Content-Encoding") == ("gzip" if compressed else None)
    assert (gzip.decompress(body) if compressed else body) == operator.metrics


async def test_liveness_does_not_depend_on_readiness(operator: Operator) -> None:
    operator.ready = False
    answer, body = await operator.ask("/livez")
    assert (answer.status, body) == (200, b"alive\n")
    answer, body = await operator.ask("/readyz")
    assert (answer.status, body) == (503, b"not ready\n")
    operator.ready = True
    answer, body = await operator.ask("/readyz")
    assert (answer.status, body) == (200, b"ready\n")


async def test_index_shows_what_runs_and_escapes_it(operator: Operator) -> None:
    answer, body = await operator.ask("/")
    text = body.decode()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert f"mcp-proxy-exporter {__version__}" in text
    assert "<td>&lt;cats&gt;</td><td>http://a, http://b</td><td>http://c&amp;d</td>" in text
    for path in ("/metrics", "/livez", "/readyz"):
        assert f'href="{path}"' in text


def test_index_without_servers_is_a_page_too() -> None:
    assert write_index([]).endswith("</html>\n")


@pytest.mark.parametrize("path", ["/metric", "/metrics/", "/mcp", "/-/quit", "/%2e%2e/etc"])
async def test_unknown_paths_are_not_found(operator: Operator, path: str) -> None:
    answer, _ = await operator.ask(path)
    assert answer.status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/metrics", "/readyz"])
async def test_nothing_can_be_changed(operator: Operator, path: str, method: str) -> None:
    answer, _ = await operator.ask(path, method)
    assert answer.status == 405


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez", "/nothing"])
async def test_no_answer_tells_the_versions_of_libraries(operator: Operator, path: str) -> None:
    answer, body = await operator.ask(path)
    assert answer.headers["Server"] == "mcp-proxy-exporter"
    assert b"aiohttp" not in body


async def test_malformed_request_is_answered_and_not_logged(
    operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    port = int(operator.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /\x00 HTTP/1.1\r\nHost: \r\nX y: z\r\n\r\n")
    async with asyncio.timeout(WAIT):
        assert (await reader.read()).startswith(b"HTTP/1.0 400 ")
    writer.close()
    await writer.wait_closed()
    assert not caplog.records


async def test_failing_scrape_is_logged_as_our_fault(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_accept: str, _compress: bool) -> Page:  # noqa: FBT001  # a callback
        raise RuntimeError("broken")

    async with operate(fail) as operator:
        answer, body = await operator.ask("/metrics")
        assert answer.status == 500
        assert b"broken" not in body
        answer, _ = await operator.ask("/livez")
        assert answer.status == 200
    assert "RuntimeError: broken" in caplog.text


async def test_address_in_use_is_an_oserror_and_leaves_nothing_open(operator: Operator) -> None:
    port = int(operator.url.rpartition(":")[2])
    second = AdminServer(
        TcpAddress("127.0.0.1", port),
        render=operator.render,
        ready=lambda: True,
        servers=list,
    )
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.stop()
    answer, _ = await operator.ask("/livez")
    assert answer.status == 200


async def test_stopped_listener_is_closed() -> None:
    async with operate() as operator:
        port = int(operator.url.rpartition(":")[2])
        await operator.ask("/livez")
    assert not is_listening(port)


async def test_never_started_listener_can_be_stopped() -> None:
    async def render(_accept: str, _compress: bool) -> Page:  # noqa: FBT001  # a callback
        return Page(body=METRICS, content_type=CONTENT_TYPE)

    server = AdminServer(ANY_PORT, render=render, ready=lambda: True, servers=list)
    await server.stop()
    assert server.url == ""


async def test_all_interfaces_can_be_listened_on() -> None:
    # Not port 0: each interface family would get a port of its own.
    port = find_free_port()
    async with operate(address=TcpAddress("", port)) as operator:
        operator.url = f"http://127.0.0.1:{port}"
        answer, _ = await operator.ask("/livez")
        assert answer.status == 200
