"""Bodies of 1 GiB pass byte for byte, and the proxy holds next to nothing of them.

Nor does it where one side offers and the other takes nothing. The inspection is on: it gives up at
its limit, and the figures say so.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from tests.soak.process import MIB, resident_bytes
from tests.support.product import Proxy
from tests.weight.bodies import Body, Receiver, frame, send
from tests.weight.scales import LOOPS, peak_bytes, reset_peak, rest, run_on, wait_for

SIZE = 1024 * MIB
OFFERED = 400 * MIB
MAX_RISE = 16 * MIB
"""Up to 4 MiB of a message are held to be read, twice where a line of an event ends; the rest are
reads of 256 KiB on their way."""
WAIT_SECONDS = 60.0
CLIENT_WRITE = 2.0
STALL_SECONDS = 4.0
REST_SECONDS = 10.0

CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap","arguments":{"a":"'
CALL_END = b'"}}}'
RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"'
RESULT_END = b'"}]}}'
SMALL_CALL = Body(begin=CALL, size=1, end=CALL_END)
SMALL_RESULT = Body(begin=RESULT, size=1, end=RESULT_END)
JSON = b"application/json"
EVENTS = b"text/event-stream"

RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: on, for no time at all."""

Upstream = Callable[[socket.socket], object]


def upload(body: Body, *, chunked: bool) -> bytes:
    """Give the head of a request with such a body."""
    fields = b"Host: a\r\nContent-Type: %b\r\nAccept: %b, %b" % (JSON, JSON, EVENTS)
    return b"POST /mcp HTTP/1.1\r\n%b\r\n%b\r\n\r\n" % (fields, frame(body, chunked=chunked))


def answer(body: Body, *, chunked: bool, media: bytes = JSON) -> bytes:
    """Give the head of a response with such a body."""
    framing = frame(body, chunked=chunked)
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n\r\n" % (media, framing)


class Stage:
    """A proxy, an upstream that does one thing at a time, and how to connect to the first."""

    def __init__(self, proxy: Proxy, listening: socket.socket, threads: ThreadPoolExecutor) -> None:
        self.proxy = proxy
        self.pid = proxy.program._process.pid
        self._listening = listening
        self._threads = threads

    def connect(self) -> socket.socket:
        """Connect a client."""
        address = urlsplit(self.proxy.origin)
        return socket.create_connection((str(address.hostname), address.port or 0), WAIT_SECONDS)

    def play(self, upstream: Upstream) -> "Future[object]":
        """Let the upstream take the next connection and do that with it."""

        def take() -> object:
            peer, _ = self._listening.accept()
            with peer:
                peer.settimeout(WAIT_SECONDS)
                return upstream(peer)

        return self._threads.submit(take)

    def warm_up(self) -> None:
        """Let a small call pass, so that what is made once has been made."""
        exchange(self, SMALL_CALL, SMALL_RESULT, up_chunked=False, down_chunked=False, media=JSON)


def read_all(peer: socket.socket) -> None:
    """Read up to the end."""
    while peer.recv(MIB):
        pass


@contextmanager
def staged(loop: str, **settings: object) -> Iterator[Stage]:
    """Run a proxy before an upstream of this process."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.settimeout(WAIT_SECONDS)
        threads = stack.enter_context(ThreadPoolExecutor(max_workers=2))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        proxy = stack.enter_context(run_on(loop, url, {"timeouts__upstream_idle": 0, **settings}))
        stage = Stage(proxy, listening, threads)
        stage.warm_up()
        yield stage


def exchange(
    stage: Stage, call: Body, result: Body, *, up_chunked: bool, down_chunked: bool, media: bytes
) -> None:
    """Send a request and read its answer; prove that both came as they were sent."""

    def serve(peer: socket.socket) -> object:
        receiver = Receiver(peer)
        came = receiver.read_body(receiver.read_head())
        peer.sendall(answer(result, chunked=down_chunked, media=media))
        send(peer, result, chunked=down_chunked)
        return came

    served = stage.play(serve)
    with stage.connect() as client:
        client.sendall(upload(call, chunked=up_chunked))
        send(client, call, chunked=up_chunked)
        receiver = Receiver(client)
        head = receiver.read_head()
        assert head.startswith(b"HTTP/1.1 200 "), head
        answered = receiver.read_body(head)
    assert served.result(WAIT_SECONDS) == (len(call), call.digest())
    assert answered == (len(result), result.digest())


def weigh(stage: Stage, what: str, act: Callable[[], None]) -> int:
    """Do something; print and return by how much the proxy's memory rose meanwhile."""
    before = rest(stage.pid)
    reset_peak(stage.pid)
    started = time.monotonic()
    act()
    seconds = time.monotonic() - started
    rise = peak_bytes(stage.pid) - before
    print(  # noqa: T201
        f"\n{what} in {seconds:.1f} s: {before / MIB:.1f} MiB before, {rise / MIB:.1f} MiB more at "
        f"most, {(resident_bytes(stage.pid) - before) / MIB:.1f} MiB more at the end"
    )
    return rise


def is_over(stage: Stage) -> bool:
    """Say whether no exchange is under way."""
    return stage.proxy.scrape().total("mcp_http_connections", state="active") == 0


def count_calls(stage: Stage) -> dict[tuple[str, ...], int]:
    """Give the ended calls by outcome; the first was the small one."""
    return stage.proxy.settle().table("mcp_tool_calls_total", ("outcome",))


def count_unread(stage: Stage) -> dict[tuple[str, ...], int]:
    """Give what could not be read, by the reason."""
    return stage.proxy.settle().table("mcp_proxy_uninspected_messages_total", ("reason",))


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_upload_of_1_gib_passes_whole_and_weighs_nothing(loop: str, *, chunked: bool) -> None:
    body = Body(begin=CALL, size=SIZE, end=CALL_END)

    def act() -> None:
        options = {"up_chunked": chunked, "down_chunked": False}
        exchange(stage, body, SMALL_RESULT, media=JSON, **options)

    with staged(loop) as stage:
        what = f"{loop}: upload of {SIZE // MIB} MiB, {'chunked' if chunked else 'with length'}"
        assert weigh(stage, what, act) <= MAX_RISE
        assert count_unread(stage) == {("too_large",): 1}
        assert count_calls(stage) == {("success",): 1}  # whose name it has nobody has read


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", ["length", "chunked", "event"])
def test_download_of_1_gib_passes_whole_and_weighs_nothing(loop: str, kind: str) -> None:
    is_event = kind == "event"
    begin, end = (b"data: " + RESULT, RESULT_END + b"\n\n") if is_event else (RESULT, RESULT_END)
    body = Body(begin=begin, size=SIZE, end=end)

    def act() -> None:
        options = {"up_chunked": False, "down_chunked": kind != "length"}
        exchange(stage, SMALL_CALL, body, media=EVENTS if is_event else JSON, **options)

    with staged(loop) as stage:
        what = f"{loop}: download of {SIZE // MIB} MiB, {kind}"
        assert weigh(stage, what, act) <= MAX_RISE
        assert count_unread(stage) == {("too_large",): 1}
        assert count_calls(stage) == {("success",): 1, ("uninspected",): 1}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("loop", LOOPS)
def test_client_that_never_reads_is_cut_and_weighs_nothing(loop: str) -> None:
    body = Body(begin=RESULT, size=OFFERED, end=RESULT_END)
    sent = 0

    def offer(peer: socket.socket) -> object:
        nonlocal sent
        receiver = Receiver(peer)
        receiver.read_body(receiver.read_head())
        peer.sendall(answer(body, chunked=False))
        with suppress(ConnectionError):
            for piece in body.pieces():
                peer.sendall(piece)
                sent += len(piece)
        return sent

    def act() -> None:
        served = stage.play(offer)
        with stage.connect() as client:
            client.sendall(upload(SMALL_CALL, chunked=False))
            send(client, SMALL_CALL, chunked=False)
            served.result(WAIT_SECONDS)
            with pytest.raises(ConnectionResetError):
                read_all(client)

    with staged(loop, timeouts__client_write=CLIENT_WRITE) as stage:
        rise = weigh(stage, f"{loop}: {OFFERED // MIB} MiB for a client that does not read", act)
        assert rise <= MAX_RISE
        assert 0 < sent < OFFERED // 4
        limits = stage.proxy.settle().table("mcp_proxy_limit_hits_total", ("limit",))
        assert limits == {("client_write",): 1}
        assert count_calls(stage) in (
            {("success",): 1, ("client_disconnected",): 1},
            {("success",): 1, ("uninspected",): 1},
        )


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("loop", LOOPS)
def test_upload_that_the_upstream_never_reads_weighs_nothing(loop: str) -> None:
    body = Body(begin=CALL, size=OFFERED, end=CALL_END)
    over = threading.Event()
    sent = 0

    def ignore(peer: socket.socket) -> object:
        Receiver(peer).read_head()
        assert over.wait(WAIT_SECONDS)
        came = 0
        with suppress(ConnectionError):
            while data := peer.recv(MIB):
                came += len(data)
        return came

    def act() -> None:
        nonlocal sent
        served = stage.play(ignore)
        with stage.connect() as client:
            client.sendall(upload(body, chunked=False))
            client.settimeout(STALL_SECONDS)
            with suppress(TimeoutError):
                for piece in body.pieces():
                    sent += client.send(piece)
            # An end would wait behind what nobody reads; a reset does not.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        wait_for(lambda: is_over(stage), REST_SECONDS, "rid of the exchange")
        over.set()
        came = served.result(WAIT_SECONDS)
        assert isinstance(came, int)
        assert came < sent

    with staged(loop) as stage:
        rise = weigh(stage, f"{loop}: {OFFERED // MIB} MiB for an upstream that does not read", act)
        assert rise <= MAX_RISE
        assert 0 < sent < OFFERED // 4
        assert count_calls(stage) == {("success",): 1}
