"""The cats and their clients as services of their own, with a proxy that is somebody else's."""

import os
import signal
import socket
from collections.abc import Sequence

import pytest

from mcp_proxy_exporter import cli
from tests.support.product import run_product, run_proxy
from tests.support.programs import STOP_SECONDS, Program, find_free_port
from tests.support.scrape import Scrape, fetch

CALLED_SECONDS = 20.0


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{find_free_port()}"


def serve(address: str) -> Sequence[str]:
    return ("demo", "server", "--listen", address)


def play(part: str, address: str) -> Sequence[str]:
    return serve(address) if part == "server" else ("demo", "clients", f"http://{address}")


def has_calls(scrape: Scrape) -> bool:
    return scrape.total("mcp_tool_calls_total", tool="sharpen_claw", outcome="success") > 0


def test_clients_find_the_cats_whatever_starts_first(address: str) -> None:
    port = find_free_port()
    with run_product(["demo", "clients", f"http://127.0.0.1:{port}/"]) as clients:
        clients.wait_for_line(f"clients: http://127.0.0.1:{port}/mcp", CALLED_SECONDS)
        ports = ["--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0"]
        proxied = ["run", "--upstream", f"http://{address}", "--name", "cats", *ports]
        with run_product(proxied) as proxy:
            admin = proxy.wait_for_line("metrics: ", CALLED_SECONDS).split()[1]
            admin = admin.removesuffix("/metrics")

            def scrape() -> Scrape:
                return Scrape.from_text(fetch(admin, "/metrics").body)

            # The proxy is there before its server is: the clients hear 502 and try again.
            failed = {"outcome": "upstream_unreachable"}
            proxy.wait_until(lambda: scrape().total("mcp_requests_total", **failed) > 0, "asked")
            with run_product(serve(address)):
                proxy.wait_until(lambda: has_calls(scrape()), "called")
            before = scrape().total("mcp_requests_total", **failed)
            proxy.wait_until(
                lambda: scrape().total("mcp_requests_total", **failed) > before, "asked again"
            )


def test_cats_answer_to_any_name_of_the_proxy(address: str) -> None:
    # A service's name in a compose file or a cluster is no name of this machine.
    with run_product(serve(address)) as cats:
        cats.wait_for_line(f"cats: http://{address}/mcp", CALLED_SECONDS)
        with run_proxy(f"http://{address}", name="cats") as proxy:
            # What they have against this is its method, not the name.
            for host in ("proxy:8080", "mcp-server.default.svc:3001", "localhost:8080"):
                assert fetch(proxy.origin, "/mcp", {"Host": host}).status == 405


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("part", ["server", "clients"])
def test_a_signal_ends_each_with_0(address: str, number: signal.Signals, part: str) -> None:
    with run_product(play(part, address)) as program:
        program.wait_for_line("/mcp", CALLED_SECONDS)
        send(program, number)
        assert program.wait_for_exit(STOP_SECONDS) == 0
        assert program.output.count("\n") == 0


def send(program: Program, number: signal.Signals) -> None:
    program._process.send_signal(number)


@pytest.mark.parametrize("part", ["server", "clients"])
def test_each_ends_by_itself_when_told_so(
    address: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = play(part, address)
    assert cli.main([name, "--duration", "0.3", *rest]) == 0
    out, err = capsys.readouterr()
    assert out.endswith(f"http://{address}/mcp\n")
    assert err == ""


def test_cats_listen_on_all_interfaces(capsys: pytest.CaptureFixture[str]) -> None:
    port = find_free_port()
    assert cli.main(["demo", "--duration", "0.2", *serve(f":{port}")[1:]]) == 0
    assert f":{port}/mcp" in capsys.readouterr().out


def test_a_taken_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert cli.main(["demo", "server", "--listen", address]) == 1
    expected = f"cannot listen on {address}: {os.strerror(98)}".lower()
    assert capsys.readouterr().err == f"mcp-proxy-exporter: {expected}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["demo", "server", "--listen", "3001"], "needs a port"),
        (["demo", "server", "--listen", "unix:/tmp/cats"], "the port must be a number"),
        (["demo", "clients"], "URL"),
        (["demo", "clients", "proxy:8080"], "must start with http://"),
        (["demo", "clients", "unix:/tmp/cats"], "must start with http://"),
        (["demo", "clients", "http://proxy:8080/mcp"], "must end after host and port"),
        (["demo", "cats"], "invalid choice"),
    ],
)
def test_a_wrong_address_is_a_usage_error(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert told in capsys.readouterr().err
