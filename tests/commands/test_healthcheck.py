"""`healthcheck`: where it asks, what it makes of answers, and what it costs."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from mcp_proxy_exporter import cli
from mcp_proxy_exporter.commands import healthcheck
from mcp_proxy_exporter.config import AdminSettings
from mcp_proxy_exporter.config.layers import PREFIX
from tests.support.product import COMMAND, run_proxy
from tests.support.programs import find_free_port, running

LISTEN = f"{PREFIX}ADMIN__LISTEN"
ADMIN = f"{PREFIX}ADMIN"
SHORT = "0.3"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MCP_PROXY_EXPORTER"):
            monkeypatch.delenv(name)


@contextlib.contextmanager
def answering(answer: bytes, *, ends: bool = True) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives one client this answer; yield its address and what it was asked."""
    asked: list[bytes] = []
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(answer)
                if not ends:
                    done.wait(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", asked
        done.set()
        thread.join(10)


def test_asks_where_the_admin_listens_by_default() -> None:
    assert AdminSettings().listen == healthcheck.DEFAULT_ADMIN
    assert healthcheck.PREFIX == PREFIX
    assert healthcheck._find_admin(None, {}) == {}


@pytest.mark.parametrize(
    ("environment", "listen"),
    [
        ({LISTEN: ":20464"}, ":20464"),
        ({f"{PREFIX}admin__listen": ":20464"}, ":20464"),
        ({ADMIN: '{"listen": "[::1]:20464"}'}, "[::1]:20464"),
        ({ADMIN: '{"listen": "[::1]:1"}', LISTEN: ":20464"}, ":20464"),
        ({LISTEN: "", "OTHER": ":1"}, "10.0.0.1:9000"),
    ],
)
def test_the_environment_goes_over_the_file(
    tmp_path: Path, environment: dict[str, str], listen: str
) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('[admin]\nlisten = "10.0.0.1:9000"\n')
    assert healthcheck._find_admin(file, environment)["listen"] == listen


def test_a_file_without_an_admin_leaves_the_default(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('[[servers]]\nupstream = "http://h"\n')
    assert healthcheck._find_admin(file, {}) == {}


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        (":10464", ("127.0.0.1", 10464)),
        ("0.0.0.0:10464", ("127.0.0.1", 10464)),
        ("[::]:10464", ("::1", 10464)),
        ("[2001:db8::1]:10464", ("2001:db8::1", 10464)),
        ("proxy:10464", ("proxy", 10464)),
    ],
)
def test_all_interfaces_are_asked_on_the_loopback(listen: str, asked: tuple[str, int]) -> None:
    assert healthcheck._split(listen) == asked


def test_a_proxy_is_alive_and_ready_until_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_proxy("http://127.0.0.1:1", name="cats") as proxy:
        monkeypatch.setenv(LISTEN, proxy.admin.removeprefix("http://"))
        assert cli.main(["healthcheck"]) == 0
        assert cli.main(["healthcheck", "--ready"]) == 0
        assert capsys.readouterr().out == "alive\nready\n"
    assert cli.main(["healthcheck"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(": connection refused\n")


@pytest.mark.parametrize(("flags", "path"), [([], b"/livez"), (["--ready"], b"/readyz")])
def test_only_200_is_well(
    capsys: pytest.CaptureFixture[str], flags: list[str], path: bytes
) -> None:
    refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    with answering(refusal) as (address, asked):
        assert cli.main(["healthcheck", "--admin", address, *flags]) == 1
    assert asked[0].startswith(b"GET %b HTTP/1.1\r\n" % path)
    expected = f"mcp-proxy-exporter: {address}{path.decode()} answered 503\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"200" * 1000, b"HTTP/1.1"])
def test_what_is_no_http_is_not_well(answer: bytes) -> None:
    with answering(answer) as (address, _):
        assert cli.main(["healthcheck", "--admin", address]) == 1


def test_an_answer_may_come_in_pieces() -> None:
    with answering(b"HTTP/1.1 200 ") as (address, _):
        assert cli.main(["healthcheck", "--admin", address]) == 0


def test_a_proxy_that_stands_still_is_not_well(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(b"HTTP/1.1", ends=False) as (address, _):
        assert cli.main(["healthcheck", "--admin", address, "--timeout", SHORT]) == 1
    assert "timed out" in capsys.readouterr().err


def test_the_deadline_is_for_the_whole_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                while not stop.wait(0.05):
                    connection.send(b"H")

        thread = threading.Thread(target=drip)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert cli.main(["healthcheck", "--admin", address, "--timeout", SHORT]) == 1
        stop.set()
        thread.join(10)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[admin]\nlisten = "127.0.0.1:0"\n', "port is not known"),
        ('[admin]\nlisten = "somewhere"\n', "port is not known"),
        ('[admin]\nlisten = "127.0.0.1:99999"\n', "port is not known"),
        (f'[admin]\nlisten = "127.0.0.1:{"1" * 5000}"\n', "port is not known"),
        ("admin = 5\n", "proxy.toml: admin: must be a table"),
        ("admin = []\n", "proxy.toml: admin: must be a table"),
        ("admin", "proxy.toml: Expected"),
        ("x = " + "[" * 5000, "proxy.toml: "),
        (None, "proxy.toml: no such file"),
    ],
)
def test_an_unknown_address_is_a_wrong_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, told: str
) -> None:
    file = tmp_path / "proxy.toml"
    if text is not None:
        file.write_text(text)
    assert cli.main(["healthcheck", "--config", str(file)]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_a_file_that_is_no_text_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "proxy.toml"
    file.write_bytes(b"\xff")
    assert cli.main(["healthcheck", "--config", str(file)]) == 2
    assert capsys.readouterr().err.endswith("proxy.toml: is not text in UTF-8\n")


@pytest.mark.parametrize("text", ["[]", "3", '"x"', "null", "{", "[" * 100_000])
def test_a_variable_that_is_no_table_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    monkeypatch.setenv(ADMIN, text)
    assert cli.main(["healthcheck"]) == 2
    err = capsys.readouterr().err
    assert f"{ADMIN}: " in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("host", ["a..b", ".a", "a" * 64])
def test_what_is_no_name_of_a_host_is_a_wrong_configuration(
    capsys: pytest.CaptureFixture[str], host: str
) -> None:
    assert cli.main(["healthcheck", "--admin", f"{host}:1234"]) == 2
    assert "no name of a host" in capsys.readouterr().err


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "inf"])
def test_a_wrong_timeout_is_a_usage_error(timeout: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["healthcheck", "--timeout", timeout])
    assert caught.value.code == 2


def test_it_loads_nothing_that_takes_time() -> None:
    code = (
        "import sys, mcp_proxy_exporter.cli as cli\n"
        f"cli.main(['healthcheck', '--admin', '127.0.0.1:{find_free_port()}'])\n"
        "print(sorted({'aiohttp', 'asyncio', 'email', 'http', 'json', 'msgspec', 'pydantic', 'ssl',"
        " 'tomllib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "[]\n"


def test_it_is_asked_as_a_process_in_a_container_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    with run_proxy("http://127.0.0.1:1", name="cats") as proxy:
        admin = proxy.admin.removeprefix("http://")
        done = subprocess.run(
            [*COMMAND, "healthcheck", "--admin", admin],
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"alive\n", b"")
        # Asking leaves nothing behind.
        connection = http.client.HTTPConnection(admin, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/livez")
            assert connection.getresponse().status == 200


@pytest.mark.parametrize("place", ["file", "environment", "json"])
def test_a_proxy_with_tls_is_asked_by_tls_without_more_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    pem = tmp_path / "admin.pem"
    leaf = trustme.CA().issue_cert("metrics.example")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(pem))
    file = tmp_path / "proxy.toml"
    port = find_free_port()
    servers = '[[servers]]\nupstream = "http://127.0.0.1:1"\nlisten = "127.0.0.1:0"\n'
    file.write_text(
        f'{servers}[admin]\nlisten = ":{port}"\n'
        + (f'tls.cert_file = "{pem}"\n' if place == "file" else "")
    )
    if place == "environment":
        monkeypatch.setenv(f"{ADMIN}__TLS__CERT_FILE", str(pem))
    if place == "json":
        monkeypatch.setenv(ADMIN, json.dumps({"tls": {"cert_file": str(pem)}}))
    with running([*COMMAND, "run", "--config", str(file)]) as program:
        program.wait_for_line("metrics: https://", 20)
        assert cli.main(["healthcheck", "--config", str(file), "--ready", "--timeout", "10"]) == 0


def test_tls_with_what_speaks_none_is_not_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{ADMIN}__TLS__CERT_FILE", "/any")
    with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (listen, _):
        assert cli.main(["healthcheck", "--admin", listen]) == 1
    assert f"no answer from {listen}: " in capsys.readouterr().err
