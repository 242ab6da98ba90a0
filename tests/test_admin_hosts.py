"""Under which names the admin listener may be asked: DNS rebinding ends there."""

import asyncio

import pytest

from mcp_proxy_exporter.config import TcpAddress
from tests.support.programs import find_free_port
from tests.test_admin import WAIT, Operator, operate


async def ask(operator: Operator, path: str, *fields: str, minor: int = 1) -> int:
    """Ask with these fields and no others; give the status."""
    port = int(operator.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = "".join(f"{line}\r\n" for line in (*fields, "Connection: close"))
    writer.write(f"GET {path} HTTP/1.{minor}\r\n{lines}\r\n".encode())
    async with asyncio.timeout(WAIT):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ")[1])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:10464", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:10464", 200),
        ("prometheus.lan", 200),
        ("prometheus.lan:9", 200),
        ("only.lan:9", 200),
        ("only.lan", 421),
        ("evil.example", 421),
        ("evil.example:10464", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1@evil.example", 421),
        ("10.0.0.1", 421),
        ("evil\u00e4.example", 421),
        ("", 421),
    ],
)
async def test_on_loopback_only_known_hosts_may_read(host: str, status: int) -> None:
    async with operate(allowed_hosts=["prometheus.lan", "only.lan:9"]) as operator:
        for path in ("/", "/metrics"):
            assert await ask(operator, path, f"Host: {host}") == status
        assert await ask(operator, "/nothing", f"Host: {host}") == (404 if status == 200 else 421)
        for path in ("/livez", "/readyz"):
            assert await ask(operator, path, f"Host: {host}") == 200


async def test_loopback_needs_no_list_to_refuse() -> None:
    async with operate() as operator:
        assert await ask(operator, "/metrics", "Host: evil.example") == 421
        assert await ask(operator, "/metrics", "Host: localhost") == 200


async def test_who_names_no_host_is_no_browser() -> None:
    async with operate() as operator:
        assert await ask(operator, "/metrics", minor=0) == 200


async def test_second_host_is_no_way_in() -> None:
    async with operate() as operator:
        fields = ["Host: localhost", "Host: evil.example"]
        assert await ask(operator, "/metrics", *fields) == 400
        assert await ask(operator, "/metrics", *reversed(fields)) == 400


@pytest.mark.parametrize(("listed", "status"), [([], 200), (["prometheus.lan"], 421)])
async def test_elsewhere_hosts_are_judged_only_where_some_are_listed(
    listed: list[str], status: int
) -> None:
    # Not port 0: each interface family would get a port of its own.
    port = find_free_port()
    async with operate(address=TcpAddress("", port), allowed_hosts=listed) as operator:
        operator.url = f"http://127.0.0.1:{port}"
        assert await ask(operator, "/metrics", "Host: exporter.svc:10464") == status
        for known in ("prometheus.lan", "127.0.0.1", "localhost"):
            assert await ask(operator, "/metrics", f"Host: {known}") == 200
