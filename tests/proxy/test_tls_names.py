"""By which name a server is asked for in TLS, and whose certificates of ours it takes."""

import asyncio
import ssl
from pathlib import Path
from typing import Self

import pytest
import trustme

from tests.proxy.test_tls import reasons, status_of_a_get
from tests.support.certificates import Identity
from tests.support.proxies import ProxyFactory
from tests.support.scripted_upstream import ScriptedUpstream


class Server:
    """A TLS server that notes the names by which it is asked for."""

    def __init__(self, authority: trustme.CA, *names: str) -> None:
        self.asked: list[str | None] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self.context)
        self.context.sni_callback = self._note
        self.upstream = ScriptedUpstream()
        self._server: asyncio.Server | None = None

    def _note(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        self.asked.append(name)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            self.upstream._build, "127.0.0.1", 0, ssl=self.context
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.upstream.stop()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.mark.parametrize(
    ("host", "server_name", "asked"),
    [
        ("localhost", None, "localhost"),
        ("127.0.0.1", None, None),  # RFC 6066 section 3: an address is no name
        ("127.0.0.1", "mcp.example", "mcp.example"),
        ("localhost", "mcp.example", "mcp.example"),
    ],
)
async def test_a_server_is_asked_for_by_its_name(
    proxy: ProxyFactory,
    authority: trustme.CA,
    ca_file: str,
    host: str,
    server_name: str | None,
    asked: str | None,
) -> None:
    tls = {"ca_file": ca_file} | ({} if server_name is None else {"server_name": server_name})
    async with Server(authority, "127.0.0.1", "localhost", "mcp.example") as server:
        running = await proxy(f"https://{host}:{server.port}", tls=tls)
        assert await status_of_a_get(running) == 204
        assert server.asked == [asked]


async def test_our_certificate_of_another_authority_fails_the_exchange(
    proxy: ProxyFactory, authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    foreign = Identity(trustme.CA(), tmp_path)
    server = Server(authority, "127.0.0.1")
    authority.configure_trust(server.context)
    server.context.verify_mode = ssl.CERT_REQUIRED
    async with server:
        running = await proxy(
            f"https://127.0.0.1:{server.port}", tls={"ca_file": ca_file, **foreign.settings}
        )
        for _ in range(5):
            assert await status_of_a_get(running) == 502
        assert server.upstream.heads == []
    assert len(reasons(running)) == 5
