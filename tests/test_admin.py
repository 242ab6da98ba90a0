"""The operator's listener: what it answers, what it never shows."""

import asyncio
import base64
import gzip
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
import trustme

from mcp_proxy_exporter import __version__
from mcp_proxy_exporter.admin import EVERYBODY, Access, AdminServer, Line, Page, write_index
from mcp_proxy_exporter.admin.pages import Write
from mcp_proxy_exporter.config import TcpAddress
from mcp_proxy_exporter.observe.exposition import OPENMETRICS, Exposition
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
    server: AdminServer | None = None
    ready: bool = True
    metrics: bytes = METRICS
    accepted: list[Exposition] = field(default_factory=list)

    async def render(self, exposition: Exposition, compress: bool) -> Page:  # noqa: FBT001  # a callback
        self.accepted.append(exposition)
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
    render: Write | None = None,
    address: TcpAddress = ANY_PORT,
    tls: ssl.SSLContext | None = None,
    access: Access = EVERYBODY,
    allowed_hosts: Sequence[str] = (),
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
            tls=tls,
            access=access,
            allowed_hosts=allowed_hosts,
        )
        operator.server = server
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
    assert operator.accepted == [OPENMETRICS]


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
    async def fail(_exposition: Exposition, _compress: bool) -> Page:  # noqa: FBT001  # a callback
        raise RuntimeError("broken")

    async with operate(fail) as operator:
        answer, body = await operator.ask("/metrics")
        assert answer.status == 500
        assert b"broken" not in body
        answer, _ = await operator.ask("/livez")
        assert answer.status == 200
    assert "an answer failed: RuntimeError at tests/test_admin.py:" in caplog.text
    assert "broken" not in caplog.text


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
    async def render(_exposition: Exposition, _compress: bool) -> Page:  # noqa: FBT001  # a callback
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


TOKEN, USER = b"token-canary", b"cat:pass:canary"
BASIC = "Basic " + base64.b64encode(USER).decode()


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing"])
@pytest.mark.parametrize(
    ("access", "credentials", "status"),
    [
        (EVERYBODY, "", 200),
        (EVERYBODY, "Bearer whatever", 200),
        (Access(bearer_token=TOKEN), "Bearer token-canary", 200),
        (Access(bearer_token=TOKEN), "bearer  token-canary", 200),
        (Access(bearer_token=TOKEN), "Bearer token-canar", 401),
        (Access(bearer_token=TOKEN), "Bearer token-canary2", 401),
        (Access(bearer_token=TOKEN), "Bearer", 401),
        (Access(bearer_token=TOKEN), "token-canary", 401),
        (Access(bearer_token=TOKEN), "", 401),
        (Access(bearer_token=TOKEN), "Basic " + base64.b64encode(TOKEN).decode(), 401),
        (Access(bearer_token=TOKEN), "Bearer t\u00f6ken", 401),
        (Access(user=USER), BASIC, 200),
        (Access(user=USER), BASIC.replace("Basic", "BASIC"), 200),
        (Access(user=USER), "Basic " + base64.b64encode(b"cat:").decode(), 401),
        (Access(user=USER), "Basic ***", 401),
        (Access(user=USER), "Basic", 401),
        (Access(user=USER), "Bearer token-canary", 401),
        (Access(user=USER, bearer_token=TOKEN), BASIC, 200),
        (Access(user=USER, bearer_token=TOKEN), "Bearer token-canary", 200),
        (Access(user=USER, bearer_token=TOKEN), "Digest x", 401),
    ],
)
async def test_metrics_are_for_those_who_know_the_secret(
    path: str, access: Access, credentials: str, status: int
) -> None:
    async with operate(access=access) as operator:
        fields = {"Authorization": credentials} if credentials else {}
        answer, body = await operator.ask(path, **fields)
        expected = 404 if status == 200 and path == "/nothing" else status
        assert answer.status == expected
        assert (body == b"not authorized\n") is (status == 401)
        assert b"canary" not in body
        assert answer.headers["Server"] == "mcp-proxy-exporter"


async def test_refusal_says_which_credentials_are_wanted() -> None:
    for access, schemes in (
        (Access(bearer_token=TOKEN), ["Bearer"]),
        (Access(user=USER), ["Basic"]),
        (Access(user=USER, bearer_token=TOKEN), ["Bearer", "Basic"]),
    ):
        async with operate(access=access) as operator:
            answer, _ = await operator.ask("/metrics")
            asked = answer.headers.getall("WWW-Authenticate")
            assert asked == [f'{scheme} realm="mcp-proxy-exporter"' for scheme in schemes]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_needs_no_secret(path: str) -> None:
    async with operate(access=Access(user=USER, bearer_token=TOKEN)) as operator:
        answer, _ = await operator.ask(path)
        assert answer.status == 200
        answer, _ = await operator.ask(path, "POST")
        assert answer.status == 405


@pytest.mark.parametrize(
    "path", ["//metrics", "/livez/", "/livez/../metrics", "/livez%2f", "/Livez"]
)
async def test_no_spelling_of_a_path_opens_more(path: str) -> None:
    async with operate(access=Access(bearer_token=TOKEN)) as operator:
        port = int(operator.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        async with asyncio.timeout(WAIT):
            assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
        writer.close()
        await writer.wait_closed()


async def test_access_can_be_changed_at_any_time() -> None:
    async with operate(access=Access(bearer_token=b"old")) as operator:
        assert operator.server is not None
        for token, status in (("old", 200), ("new", 401)):
            answer, _ = await operator.ask("/metrics", Authorization=f"Bearer {token}")
            assert answer.status == status
        operator.server.access = Access(bearer_token=b"new")
        for token, status in (("old", 401), ("new", 200)):
            answer, _ = await operator.ask("/metrics", Authorization=f"Bearer {token}")
            assert answer.status == status


def test_secrets_are_in_no_text() -> None:
    assert "canary" not in repr(Access(user=USER, bearer_token=TOKEN))


async def test_metrics_come_by_tls() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with operate(tls=context) as operator:
        assert operator.url.startswith("https://127.0.0.1:")
        async with operator.http.get(f"{operator.url}/readyz", ssl=trust) as answer:
            assert answer.status == 200
