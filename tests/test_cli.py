"""The command line: commands, flags, what is printed where, exit codes. Most as real processes."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mcp_proxy_exporter import __version__, cli
from mcp_proxy_exporter.commands import common, demo
from mcp_proxy_exporter.commands import run as run_command
from tests.support.product import COMMAND, is_ready
from tests.support.programs import find_free_port, is_listening
from tests.support.scrape import fetch

START_SECONDS = 20.0
STOP_SECONDS = 10.0
CATS = Path(cli.__file__).parent / "demo" / "cats.toml"
CANARY = "canary-6f1c"

WRONG = """
[[servers]]
upstream = "http://h/mcp"
[timeouts]
conect = 1
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MCP_PROXY_EXPORTER"):
            monkeypatch.delenv(name)


def run_to_end(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=START_SECONDS, check=False
    )


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command that has to be stopped; output and errors stay apart."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_urls(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Read the lines of one proxy and of the metrics; give their URLs."""
    assert process.stdout is not None
    proxy = process.stdout.readline().split()
    metrics = process.stdout.readline().split()
    assert proxy[0] == "cats:"
    assert proxy[2] == "->"
    assert metrics[0] == "metrics:"
    return proxy[1], metrics[1]


def proxying(upstream: str, *more: str) -> Sequence[str]:
    """Give the arguments of a proxy with free ports."""
    ports = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    return ("run", "--name", "cats", "--upstream", upstream, *ports, *more)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(START_SECONDS)
        yield server


def url_of(server: socket.socket) -> str:
    """Give a listening socket's URL."""
    return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version_is_printed(arguments: list[str]) -> None:
    done = run_to_end(*arguments)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.returncode == 0
    assert done.stdout.startswith(f"mcp-proxy-exporter {__version__} (Python {python}.")


def test_version_in_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_help_names_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for word in (
        "run",
        "check",
        "rules",
        "dashboards",
        "healthcheck",
        "demo",
        "version",
        "exit codes:",
    ):
        assert word in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["serve"],
        ["check"],
        ["run", "--upstraem", "x"],
        ["demo", "--duration", "0"],
        ["demo", "--duration", "inf"],
        ["demo", "--duration", "nan"],
        ["demo", "--duration", "long"],
    ],
)
def test_wrong_command_line_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: mcp-proxy-exporter" in capsys.readouterr().err


def test_the_command_line_itself_loads_nothing_heavy() -> None:
    heavy = {"aiohttp", "asyncio", "msgspec", "prometheus_client", "pydantic", "uvloop"}
    code = f"import sys, mcp_proxy_exporter.cli; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=True,
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(("count", "words"), [(1, "1 server"), (2, "2 servers")])
def test_check_of_a_good_file_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, words: str
) -> None:
    file = tmp_path / "good.toml"
    server = '[[servers]]\nname = "{0}"\nlisten = ":{0}"\nupstream = "http://h"\n'
    file.write_text("".join(server.format(number + 1) for number in range(count)))
    assert cli.main(["check", "--config", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok, {words}\n"


def test_check_knows_the_metric_families(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "proxy.toml"
    text = '[[servers]]\nupstream = "http://h"\n[metrics]\ndisable = ["mcp_tool_call"]'
    file.write_text(text)
    assert cli.main(["check", "--config", str(file)]) == 2
    message = "metrics.disable[0]: matches no metric family; did you mean `mcp_tool_calls_total`?"
    assert capsys.readouterr().err == f"{file}:4: {message}\n"


@pytest.mark.parametrize("command", ["check", "run"])
def test_wrong_file_is_told_whole_and_nothing_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(WRONG)
    assert cli.main([command, "--config", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith(f"{file}:3: servers[0].upstream: must end after host and port")
    assert second == f"{file}:5: timeouts.conect: unknown setting; did you mean `connect`?"


def test_check_does_not_start_anything(tmp_path: Path, silent: socket.socket) -> None:
    file = tmp_path / "taken.toml"
    port = silent.getsockname()[1]
    file.write_text(f'[[servers]]\nlisten = "127.0.0.1:{port}"\nupstream = "http://h"')
    assert cli.main(["check", "--config", str(file)]) == 0


def test_run_without_a_server_says_what_to_do() -> None:
    done = run_to_end("run")
    assert done.returncode == 2
    assert "give --upstream URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_are_named_in_their_errors(capsys: pytest.CaptureFixture[str]) -> None:
    upstream = f"http://u:{CANARY}@h"
    flags = ["--upstream", upstream, "--listen", "x", "--admin", "y", "--log-level", "z"]
    assert cli.main(["run", *flags]) == 2
    err = capsys.readouterr().err
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "--admin",
        "--listen",
        "--log-level",
        "--upstream",
    ]
    assert CANARY not in err


@pytest.mark.parametrize(("flag", "owner"), [("--listen", "servers.cats"), ("--admin", "admin")])
def test_taken_port_is_told_and_ends_with_1(silent: socket.socket, flag: str, owner: str) -> None:
    address = f"127.0.0.1:{silent.getsockname()[1]}"
    done = run_to_end(*proxying("http://h"), flag, address)
    assert done.returncode == 1
    assert done.stderr == (
        f"mcp-proxy-exporter: cannot listen on {address} ({owner}): address already in use\n"
    )
    assert done.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_proxy_with_0(silent: socket.socket, number: signal.Signals) -> None:
    with started(*proxying(url_of(silent))) as process:
        url, metrics_url = read_urls(process)
        assert fetch(metrics_url.removesuffix("/metrics"), "/readyz").status == 200
        process.send_signal(number)
        assert process.wait(STOP_SECONDS) == 0
        assert not is_listening(urlsplit(url).port or 0)
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_second_signal_ends_the_proxy_at_once(
    silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_PROXY_EXPORTER__TIMEOUTS__DRAIN", "600")
    with started(*proxying(url_of(silent))) as process:
        url, _ = read_urls(process)
        connection = HTTPConnection(urlsplit(url).netloc, timeout=STOP_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/mcp")
            accepted, _ = silent.accept()
            with accepted:
                process.send_signal(signal.SIGTERM)
                deadline = time.monotonic() + STOP_SECONDS
                while is_listening(urlsplit(url).port or 0):
                    assert time.monotonic() < deadline
                assert process.poll() is None
                process.send_signal(signal.SIGTERM)
                assert process.wait(STOP_SECONDS) == 128 + signal.SIGTERM


def test_nobody_needs_to_read_the_output(silent: socket.socket) -> None:
    admin = f"127.0.0.1:{find_free_port()}"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nowhere:
        process = subprocess.Popen(
            [*COMMAND, *proxying(url_of(silent), "--admin", admin)], stdout=nowhere
        )
    with process:
        deadline = time.monotonic() + START_SECONDS
        while not is_ready(f"http://{admin}"):
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0


def test_secrets_are_in_no_output_at_any_log_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", CANARY)
    headers = f'{{"A": {{"env": "TOKEN"}}, "B": {{"value": "{CANARY}"}}}}'
    monkeypatch.setenv("MCP_PROXY_EXPORTER__HEADERS", headers)
    with started(*proxying("http://127.0.0.1:1", "--log-level", "debug")) as process:
        url, metrics_url = read_urls(process)
        admin = metrics_url.removesuffix("/metrics")
        assert fetch(url, "/mcp").status == 502
        pages = [fetch(url, "/mcp").body, *(fetch(admin, path).body for path in ("/", "/metrics"))]
        process.terminate()
        out, err = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 0
    for text in (out, err, *(page.decode() for page in pages)):
        assert CANARY not in text


def test_run_in_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    announce = common.announce

    def announce_and_end(line: str) -> None:
        announce(line)
        if line.startswith("metrics: "):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(run_command, "announce", announce_and_end)
    assert cli.main(proxying("http://127.0.0.1:1")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["cats", "metrics"]


def test_taken_port_in_this_process(
    silent: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{silent.getsockname()[1]}"
    assert cli.main([*proxying("http://h"), "--admin", address]) == 1
    assert "cannot listen on" in capsys.readouterr().err


def test_demo_shows_the_cats_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--duration", "1.2"]) == 0
    text = capsys.readouterr().out
    assert "/metrics" in text
    for tool in ("sharpen_claw", "scratch_sofa"):
        assert tool in text
    for metric in tomllib.loads(CATS.read_text())["metrics"]["custom"]:
        # More than none: the cats begin to scratch at once.
        assert re.search(rf"\n{metric['name']} +[1-9]", text), metric["name"]


def test_demo_takes_the_default_address_or_any_other(silent: socket.socket) -> None:
    address = f"127.0.0.1:{silent.getsockname()[1]}"
    assert demo._default_or_any(address) == "127.0.0.1:0"
    address = f"127.0.0.1:{find_free_port()}"
    assert demo._default_or_any(address) == address


def test_demo_that_cannot_start_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], silent: socket.socket
) -> None:
    address = f"127.0.0.1:{silent.getsockname()[1]}"
    monkeypatch.setattr(
        demo, "_default_or_any", lambda listen: address if ":10464" in listen else "127.0.0.1:0"
    )
    assert cli.main(["demo", "--duration", "1"]) == 1
    assert "cannot listen on" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_demo_cleanly(number: signal.Signals) -> None:
    with started("demo") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 0
    assert err == ""


def test_demo_ends_when_nobody_reads_it_any_more() -> None:
    with started("demo") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(STOP_SECONDS) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_demo_that_cannot_be_shown_says_why() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "demo"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("mcp-proxy-exporter: ")
    assert done.stderr.count("\n") == 1
