"""Where the upstream of one cell of the fault matrix is, and why nobody can be reached there.

Knows sockets, names and certificates; does not know what is asked. Every place can be mended: then
a good upstream is at the same address.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import trustme

from mcp_proxy_exporter.proxy import pool
from tests.support.fault_scripts import stay_silent
from tests.support.scripted_upstream import CLOSE, RESET, Moment, ScriptedUpstream, Step

NAME = "upstream.invalid"
HURRIED = frozenset({"syn_dropped", "silent_resolver", "tls_silent_handshake"})
"""Places that only `timeouts.connect` leads away from."""
_QUEUED = 16
"""Connections that are tried in order to fill a queue of one."""


class Certificates:
    """An authority whom the product trusts, and one whom it does not."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._stranger = trustme.CA()
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def make_context(self, fault: str = "") -> ssl.SSLContext:
        """Make the server's side of TLS, good or with the fault of a place."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority = self._stranger if fault == "tls_wrong_authority" else self._authority
        yesterday = datetime.now(UTC) - timedelta(days=1)
        authority.issue_cert(
            "other.test" if fault == "tls_wrong_name" else "127.0.0.1",
            not_after=yesterday if fault == "tls_expired" else None,
        ).configure_cert(context)
        if fault == "tls_wants_a_certificate":
            self._authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(slots=True, kw_only=True)
class Place:
    """The address of an upstream."""

    upstream: ScriptedUpstream
    url: str
    mend: Callable[[], Awaitable[None]]
    """Put a good upstream there."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the server, besides its address."""


@asynccontextmanager
async def find_place(name: str, folder: Path, certificates: Certificates) -> AsyncIterator[Place]:
    """Make a place with the fault of this name; ``plain`` has none."""
    async with AsyncExitStack() as stack:
        upstream = ScriptedUpstream()
        # Whatever the cell did with it.
        stack.push_async_callback(upstream.stop)
        if name.endswith("_socket_file"):
            yield _make_file(upstream, folder / "upstream", dead=name.startswith("dead"))
        elif name.startswith("tls_"):
            yield await _open_tls(name, upstream, certificates, stack)
        else:
            yield await _open_plain(name, upstream, stack)


async def _open_plain(name: str, upstream: ScriptedUpstream, stack: AsyncExitStack) -> Place:
    # Bound and not listening, it refuses, and nobody else can have the port meanwhile.
    listening = stack.enter_context(_bind())
    port = listening.getsockname()[1]
    place = Place(upstream=upstream, url=f"http://127.0.0.1:{port}", mend=_do_nothing)

    async def listen() -> None:
        await _serve(upstream, listening)

    async def drain() -> None:
        queued.close()
        await listen()

    async def answer_for_the_name() -> None:
        resolve.side_effect = None
        resolve.return_value = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    queued = stack.enter_context(ExitStack())
    resolve = mock.AsyncMock()
    if name == "refused":
        place.mend = listen
    elif name == "syn_dropped":
        _fill(listening, queued)
        place.mend = drain
    else:
        await listen()
    if name in ("unknown_name", "silent_resolver"):
        # The machine's resolver would answer when it likes, if there is any.
        stack.enter_context(mock.patch.object(pool, "_look_up", resolve))
        unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        resolve.side_effect = unknown if name == "unknown_name" else _resolve_for_ever
        place.url = f"http://{NAME}:{port}"
        place.mend = answer_for_the_name
    return place


def _make_file(upstream: ScriptedUpstream, path: Path, *, dead: bool) -> Place:
    if dead:
        with socket.socket(socket.AF_UNIX) as former:
            former.bind(str(path))

    async def listen() -> None:
        await upstream.start(str(path))  # in place of a dead one, as asyncio does

    return Place(upstream=upstream, url=f"unix:{path}", mend=listen)


_HANDSHAKES: dict[str, tuple[Step, ...]] = {
    "tls_plain_server": (b"HTTP/1.1 400 Bad Request\r\n\r\n", CLOSE),
    "tls_fin_in_handshake": (CLOSE,),
    "tls_rst_in_handshake": (RESET,),
    "tls_silent_handshake": (stay_silent,),
}


async def _open_tls(
    name: str, upstream: ScriptedUpstream, certificates: Certificates, stack: AsyncExitStack
) -> Place:
    listening = stack.enter_context(_bind())
    port = listening.getsockname()[1]
    former = ScriptedUpstream()
    context = None
    if name in _HANDSHAKES:
        former.answer(_hear_hello, *_HANDSHAKES[name], when=Moment.CONNECTED)
    else:
        context = certificates.make_context(name)
    await _serve(former, listening, tls=context)
    stack.push_async_callback(former.stop)

    async def serve_well() -> None:
        await former.stop()
        await _serve(upstream, listening, tls=certificates.make_context())

    return Place(
        upstream=upstream,
        url=f"https://127.0.0.1:{port}",
        mend=serve_well,
        settings={"tls": {"ca_file": str(certificates.file)}},
    )


async def _hear_hello(side: Any) -> None:
    """Read the beginning of a handshake: what was not read would turn an end into a reset."""
    await side.reader.read(1 << 16)


async def _serve(
    upstream: ScriptedUpstream, listening: socket.socket, tls: ssl.SSLContext | None = None
) -> None:
    loop = asyncio.get_running_loop()
    upstream._server = await loop.create_server(upstream._build, sock=listening.dup(), ssl=tls)


async def _do_nothing() -> None:
    """Mend what is not broken."""


async def _resolve_for_ever(_: object) -> None:
    await asyncio.Event().wait()


@contextmanager
def _bind() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        yield listening


def _fill(listening: socket.socket, queued: ExitStack) -> None:
    """Fill a listener's queue, so that the system drops whoever comes next."""
    listening.listen(0)
    for _ in range(_QUEUED):
        one = queued.enter_context(socket.socket())
        one.setblocking(False)  # noqa: FBT003  # the method's only form
        with suppress(BlockingIOError):
            one.connect(listening.getsockname())
