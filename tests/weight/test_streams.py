"""5 000 event streams that say nothing cost little, and each gets its event byte for byte.

One process is all the clients and the upstream: it opens the streams one after the other with plain
sockets, so that what it does is as simple as what it measures is large.
"""

import resource
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import pytest
import trustme

from mcp_proxy_exporter.proxy.sockets import allow_descriptors
from tests.soak.process import MIB, open_files, resident_bytes
from tests.support.product import Proxy
from tests.support.programs import lack
from tests.weight.scales import KIB, LOOPS, rest, run_on, wait_for

STREAMS = 5_000
TLS_STREAMS = 1_000
MAX_KIB = 12.0
"""Of one stream that has had an event: two connections, an exchange, a session, a copy of a head
that no other has. With the defaults of `limits` the streams of one listener take 24 MiB."""
MAX_TLS_KIB = 96.0
AGAIN_KIB = 2.0
"""What as many streams may take more after the first were closed: their memory is used again."""
WARM_UP = 20
WAIT_SECONDS = 20.0
REST_SECONDS = 15.0
SCRAPES = 5

REQUEST = (
    b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
    b"User-Agent: python-httpx2/2.1\r\nMCP-Protocol-Version: 2025-11-25\r\n"
    b"Mcp-Session-Id: %032x\r\n\r\n"
)
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"
)
EVENT = b'id: %d\ndata: {"jsonrpc":"2.0","method":"notifications/resources/updated","n":%d}\n\n'
END = b"0\r\n\r\n"


def receive(peer: socket.socket, size: int) -> bytes:
    """Read exactly so many bytes, or fewer before an end."""
    data = b""
    while len(data) < size and (more := peer.recv(size - len(data))):
        data += more
    return data


class Streams:
    """Open streams: the two ends of each."""

    def __init__(self, listening: socket.socket, proxy: Proxy, tls: ssl.SSLContext | None) -> None:
        self._listening = listening
        address = urlsplit(proxy.origin)
        assert address.hostname is not None
        assert address.port is not None
        self._address = (address.hostname, address.port)
        self._tls = tls
        self._ends: list[tuple[socket.socket, socket.socket]] = []

    def open(self, count: int) -> None:
        """Open so many more, each of a session of its own."""
        for _ in range(count):
            client = socket.create_connection(self._address, WAIT_SECONDS)
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_hostname=self._address[0])
            client.sendall(REQUEST % len(self._ends))
            server, _ = self._listening.accept()
            server.settimeout(WAIT_SECONDS)
            assert server.recv(64 * KIB).endswith(b"\r\n\r\n")
            server.sendall(HEAD)
            assert receive(client, len(HEAD)) == HEAD
            self._ends.append((client, server))

    def tell(self) -> int:
        """Send an event of its own to each at once; return how many came as they were sent."""
        chunks = []
        for number, (_, server) in enumerate(self._ends):
            event = EVENT % (number, number)
            chunks.append(b"%x\r\n%b\r\n" % (len(event), event))
            server.sendall(chunks[-1])
        pairs = zip(self._ends, chunks, strict=True)
        return sum(receive(client, len(chunk)) == chunk for (client, _), chunk in pairs)

    def end(self) -> int:
        """End each at once; return how many clients saw a proper end."""
        for _, server in self._ends:
            server.sendall(END)
        ended = sum(receive(client, len(END)) == END for client, _ in self._ends)
        self.close()
        return ended

    def close(self) -> None:
        """Close all sockets."""
        for ends in self._ends:
            for end in ends:
                end.close()
        self._ends.clear()


@contextmanager
def open_streams(
    loop: str, listen_tls: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[Proxy, Streams]]:
    """Run a proxy, and give the streams that can be opened through it; some were already."""
    allow_descriptors()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * STREAMS + 100:
        lack(f"this process may open {soft} files only")
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        listening.settimeout(WAIT_SECONDS)
        upstream = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = {"limits__connections": 0, "limits__requests": 0}
        proxy = stack.enter_context(run_on(loop, upstream, settings, listen_tls))
        streams = Streams(listening, proxy, tls)
        stack.callback(streams.close)
        streams.open(WARM_UP)
        assert streams.tell() == WARM_UP
        assert streams.end() == WARM_UP
        yield proxy, streams


def time_scrapes(proxy: Proxy) -> float:
    """Give the median seconds of a scrape."""
    taken = []
    for _ in range(SCRAPES):
        started = time.perf_counter()
        proxy.read()
        taken.append(time.perf_counter() - started)
    return median(taken)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("loop", LOOPS)
def test_idle_streams_weigh_little_and_leave_nothing(loop: str) -> None:
    with open_streams(loop) as (proxy, streams):
        pid = proxy.program._process.pid
        empty = rest(pid)
        files = open_files(pid)
        alone = time_scrapes(proxy)
        started = time.monotonic()
        streams.open(STREAMS)
        seconds = time.monotonic() - started
        idle = rest(pid)
        assert proxy.scrape().total("mcp_streams_open") == STREAMS
        beside = time_scrapes(proxy)
        told = streams.tell()
        scrape = proxy.settle()
        full = rest(pid)
        ended = streams.end()
        wait_for(lambda: open_files(pid) <= files, REST_SECONDS, "rid of its connections")
        over = rest(pid)
        gone = proxy.settle()
        streams.open(STREAMS)
        told_again = streams.tell()
        again = rest(pid)
        print(  # noqa: T201
            f"\n{loop}: {STREAMS} streams in {seconds:.1f} s: {empty / MIB:.1f} MiB without, "
            f"{idle / MIB:.1f} MiB idle ({(idle - empty) / STREAMS / KIB:.2f} KiB each), "
            f"{full / MIB:.1f} MiB after an event ({(full - empty) / STREAMS / KIB:.2f} KiB each), "
            f"{over / MIB:.1f} MiB after their end, {again / MIB:.1f} MiB with as many anew; "
            f"{files} files open before, {open_files(pid) - 2 * STREAMS} more than 2 for each "
            f"stream now; a scrape takes {alone * 1e3:.1f} ms without and {beside * 1e3:.1f} ms "
            f"beside them"
        )
        assert told == told_again == ended == STREAMS
        assert scrape.total("mcp_streams_open") == STREAMS
        assert scrape.total("mcp_stream_events_total") == STREAMS + WARM_UP
        assert gone.total("mcp_streams_open") == 0
        assert (full - empty) / STREAMS <= MAX_KIB * KIB
        assert (again - full) / STREAMS <= AGAIN_KIB * KIB


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("loop", LOOPS)
def test_idle_streams_over_tls_weigh_what_tls_does(loop: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf = authority.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    files = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with open_streams(loop, files, trusting) as (proxy, streams):
        pid = proxy.program._process.pid
        empty = rest(pid)
        streams.open(TLS_STREAMS)
        idle = rest(pid)
        told = streams.tell()
        full = resident_bytes(pid)
        print(  # noqa: T201
            f"\n{loop}: {TLS_STREAMS} streams over TLS: {(idle - empty) / TLS_STREAMS / KIB:.1f} "
            f"KiB each idle, {(full - empty) / TLS_STREAMS / KIB:.1f} KiB after an event"
        )
        assert told == TLS_STREAMS
        assert (full - empty) / TLS_STREAMS <= MAX_TLS_KIB * KIB
