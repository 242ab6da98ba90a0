"""Where settings come from, and which of several wins."""

from pathlib import Path

import pytest

from mcp_proxy_exporter.config import ConfigError, Settings, load

FILE = """
[[servers]]
name = "file"
listen = "127.0.0.1:1"
upstream = "http://file"
headers.X-Both = { value = "file" }
headers.X-File = { value = "file" }
tls = {}
[timeouts]
connect = 1
drain = 1
[admin]
listen = "127.0.0.1:2"
"""
TWO = FILE + '[[servers]]\nname = "two"\nlisten = "127.0.0.1:3"\nupstream = "http://two"\n'
PREFIX = "MCP_PROXY_EXPORTER__"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "proxy.toml"
    file.write_text(FILE)
    return file


def set_all(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Set variables with our prefix."""
    for name, text in variables.items():
        monkeypatch.setenv(PREFIX + name, text)


def names(settings: Settings) -> list[tuple[str, str, str]]:
    """Give what identifies each server."""
    return [(server.name, server.listen, server.upstream) for server in settings.servers]


def test_one_server_needs_no_file() -> None:
    settings = load(flags={"--upstream": "http://h", "--listen": ":1", "--name": "n"})
    assert names(settings) == [("n", ":1", "http://h")]


def test_defaults_fill_what_is_not_said() -> None:
    settings = load(flags={"--upstream": "http://h"})
    assert names(settings) == [("mcp", "127.0.0.1:8080", "http://h")]
    assert settings.admin.listen == "127.0.0.1:10464"


def test_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, UPSTREAM="http://env", NAME="env", ADMIN__LISTEN=":5", LOG__LEVEL="DEBUG")
    settings = load()
    assert names(settings) == [("env", "127.0.0.1:8080", "http://env")]
    assert settings.admin.listen == ":5"
    assert settings.log.level == "debug"


def test_variables_win_over_the_file_and_flags_over_both(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, LISTEN=":11", NAME="env", ADMIN__LISTEN=":12", TIMEOUTS__DRAIN="3")
    settings = load(file, {"--name": "flag", "--admin": ":13", "--log-level": "error"})
    assert names(settings) == [("flag", ":11", "http://file")]
    assert settings.admin.listen == ":13"
    assert settings.timeouts.drain == 3
    assert settings.timeouts.connect == 1
    assert settings.log.level == "error"


def test_headers_of_file_and_environment_are_joined(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, HEADERS='{"X-Both": {"value": "env"}}', HEADERS__X_ENV__VALUE="env")
    assert load(file).servers[0].header_fields() == (
        (b"X-Both", b"env"),
        (b"X-File", b"file"),
        (b"x_env", b"env"),
    )


def test_arrays_and_tables_below_a_map_are_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        UPSTREAM="http://h",
        HEADERS__X_A='{"value": "env"}',
        HEADERS__X_B__VALUE="{is no JSON",
        METRICS__BUCKETS__MCP_TOOL_RESULT_SIZE_BYTES="[1, 2.5]",
        METRICS__LABELS__SITE="[lab]",
    )
    settings = load()
    assert settings.servers[0].header_fields() == ((b"x_a", b"env"), (b"x_b", b"{is no JSON"))
    assert settings.metrics.buckets == {"mcp_tool_result_size_bytes": (1, 2.5)}
    assert settings.metrics.labels == {"site": "[lab]"}


@pytest.mark.parametrize(
    ("text", "meaning"), [("true", True), ("yes", True), ("1", True), ("off", False)]
)
def test_variables_say_true_and_false_as_people_do(
    monkeypatch: pytest.MonkeyPatch, text: str, *, meaning: bool
) -> None:
    set_all(monkeypatch, UPSTREAM="http://h", METRICS__SEMCONV=text, LIMITS__HEAD_FIELDS="99")
    settings = load()
    assert settings.metrics.semconv is meaning
    assert settings.limits.head_fields == 99


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("METRICS__BUCKETS__X", "1, 2", "must be JSON, because an array or a table is set here"),
        ("HEADERS__X", "abc", "must be JSON, because an array or a table is set here"),
        ("HEADERS__X", "[" * 100_000, "must be JSON, because an array or a table is set here"),
        (
            "SERVERS__0__TLS__CA_FILE",
            "x",
            (
                f"is within an array: {PREFIX}SERVERS must be a JSON array; to set the only server "
                f"use {PREFIX}TLS__CA_FILE"
            ),
        ),
        ("SERVERS__0", "{}", f"is within an array: {PREFIX}SERVERS must be a JSON array"),
        (
            "METRICS__CUSTOM__0__NAME",
            "x",
            f"is within an array: {PREFIX}METRICS__CUSTOM must be a JSON array",
        ),
        (
            "ALLOWED_HOSTS__0",
            "h",
            f"is within an array: {PREFIX}ALLOWED_HOSTS must be a JSON array",
        ),
    ],
)
def test_variables_that_cannot_be_read_say_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, message: str
) -> None:
    set_all(monkeypatch, UPSTREAM="http://h", **{name: text})
    with pytest.raises(ConfigError) as caught:
        load()
    assert str(caught.value) == f"{PREFIX}{name}: {message}"


@pytest.mark.parametrize("path", ["UPSTREAM", "LOG__LEVEL", "METRICS__SEMCONV"])
def test_one_underscore_too_few_is_an_error(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv(PREFIX + "UPSTREAM", "http://h")
    names = [f"MCP_PROXY_EXPORTER_{path}", f"MCP_PROXY_EXPORTER_{path.replace('__', '_')}"]
    for name in names:
        monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError) as caught:
        load()
    said = f"is not read: did you mean {PREFIX}{path}, with two underscores?"
    assert str(caught.value).splitlines() == sorted({f"{name}: {said}" for name in names})


def test_arrays_and_tables_in_variables_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        SERVERS='[{"name": "a", "listen": ":1", "upstream": "http://a"},'
        ' {"name": "b", "listen": ":2", "upstream": "http://b"}]',
        METRICS__DURATION_BUCKETS="[1, 2]",
        TIMEOUTS='{"connect": 2, "drain": 2}',
        TIMEOUTS__DRAIN="7",
    )
    settings = load()
    assert names(settings) == [("a", ":1", "http://a"), ("b", ":2", "http://b")]
    assert list(settings.metrics.duration_buckets) == [1.0, 2.0]
    assert (settings.timeouts.connect, settings.timeouts.drain) == (2, 7)


def test_list_of_servers_in_a_variable_replaces_that_of_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, SERVERS='[{"upstream": "http://env"}]', LISTEN=":9")
    assert names(load(file)) == [("mcp", ":9", "http://env")]


def test_only_server_of_an_empty_list_is_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "empty.toml"
    file.write_text("servers = []")
    assert names(load(file, {"--upstream": "http://h"}))[0][2] == "http://h"


def test_empty_variables_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, UPSTREAM="http://env", LISTEN="", HEADERS="", UNKNOWN="")
    assert names(load()) == [("mcp", "127.0.0.1:8080", "http://env")]


def test_variables_of_kubernetes_services_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_PROXY_EXPORTER_PORT", "tcp://10.0.0.1:8080")
    monkeypatch.setenv("MCP_PROXY_EXPORTER_SERVICE_HOST", "10.0.0.1")
    assert load(flags={"--upstream": "http://h"}).servers


def test_windows_line_ends_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "crlf.toml"
    file.write_bytes(FILE.replace("\n", "\r\n").encode())
    assert names(load(file)) == [("file", "127.0.0.1:1", "http://file")]


def test_several_servers_leave_no_room_for_an_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "two.toml"
    file.write_text(TWO)
    assert len(load(file, {"--admin": ":7"}).servers) == 2
    set_all(monkeypatch, HEADERS__X__VALUE="v")
    with pytest.raises(ConfigError) as caught:
        load(file, {"--listen": ":7", "--admin": ":7"})
    assert str(caught.value).splitlines() == [
        f"{PREFIX}HEADERS__X__VALUE: sets the only server, but there are 2",
        "--listen: sets the only server, but there are 2",
    ]
