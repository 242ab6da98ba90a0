"""The settings themselves: defaults, the example file, what is frozen and what stays secret."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from mcp_proxy_exporter.config import (
    AdminSettings,
    BasicAuthSettings,
    CustomMetricSettings,
    HeaderSettings,
    InspectionSettings,
    LimitSettings,
    ListenTlsSettings,
    LogSettings,
    MetricsSettings,
    OutcomesSettings,
    ServerSettings,
    Settings,
    SloSettings,
    SoftErrorSettings,
    TcpAddress,
    TimeoutSettings,
    TlsSettings,
    UnixAddress,
    load,
)
from mcp_proxy_exporter.config.models import MAX_LISTED_TOOLS
from mcp_proxy_exporter.observe.words import LIMITS
from mcp_proxy_exporter.protocol.catalog import MAX_TOOLS
from mcp_proxy_exporter.protocol.limits import Limits

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.toml"
DOCUMENT = ROOT / "docs" / "configuration.md"

MODELS: list[type[BaseModel]] = [
    Settings,
    ServerSettings,
    TlsSettings,
    ListenTlsSettings,
    AdminSettings,
    TimeoutSettings,
    LimitSettings,
    InspectionSettings,
    MetricsSettings,
    CustomMetricSettings,
    OutcomesSettings,
    SoftErrorSettings,
    SloSettings,
    LogSettings,
]
CANARY = "canary-6f1c"


def build(**fields: Any) -> ServerSettings:
    """Build a server with just what the test is about."""
    return ServerSettings(**{"upstream": "http://127.0.0.1:1", **fields})


def test_server_can_be_built_directly() -> None:
    server = ServerSettings(name="x", listen="127.0.0.1:0", upstream="http://127.0.0.1:1")
    assert server.listen_address == TcpAddress("127.0.0.1", 0)
    assert server.target.address == TcpAddress("127.0.0.1", 1)
    assert server.target.authority == b"127.0.0.1:1"
    assert build(listen="unix:/s").listen_address == UnixAddress("/s")
    assert AdminSettings(listen=":1").listen_address == TcpAddress("", 1)


def test_example_equals_the_defaults() -> None:
    defaults = Settings(servers=(ServerSettings(upstream="http://127.0.0.1:3001"),))
    assert load(EXAMPLE) == defaults


def test_example_with_every_comment_taken_off_is_valid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "api-key"
    secret.write_text("k\n")
    monkeypatch.setenv("MCP_TOKEN", "t")
    monkeypatch.setenv("SCRAPE_TOKEN", "s")
    text = EXAMPLE.read_text().replace("/run/secrets/api-key", str(secret))
    text = re.sub(r"(?m)^# (?=\[|[A-Za-z-]+(_[a-z]+)* = )", "", text)
    file = tmp_path / "all.toml"
    file.write_text(text)
    assert load(file).servers[0].header_fields() == (
        (b"Authorization", b"Bearer t"),
        (b"X-Api-Key", b"k"),
        (b"X-Tenant", b"cats"),
    )


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_example_shows_every_setting_with_a_comment(model: type[BaseModel]) -> None:
    text = EXAMPLE.read_text()
    for name in model.model_fields:
        assert re.search(
            rf"(?m)^# .*\n((# )?\[\[?(\w+\.)?{name}\]\]?|(# )?{name} = )"
            rf"|^\[{name}\]$",
            text,
        ), name


def test_example_sets_nothing_twice_and_nothing_unknown() -> None:
    tables = tomllib.loads(EXAMPLE.read_text())
    assert set(tables) == set(Settings.model_fields) - {"slo"}
    assert set(tables["servers"][0]) == set(ServerSettings.model_fields) - {"headers"}


def test_document_lists_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"(?m)^\| `([a-z_.]+)` \| (\S.*?) \|", DOCUMENT.read_text()))
    tables: dict[str, type[BaseModel]] = {
        "servers": ServerSettings,
        "servers.tls": TlsSettings,
        "servers.listen_tls": ListenTlsSettings,
        "admin": AdminSettings,
        "admin.basic_auth": BasicAuthSettings,
        "admin.tls": ListenTlsSettings,
        "timeouts": TimeoutSettings,
        "limits": LimitSettings,
        "inspection": InspectionSettings,
        "metrics": MetricsSettings,
        "metrics.custom": CustomMetricSettings,
        "outcomes": OutcomesSettings,
        "outcomes.soft_errors": SoftErrorSettings,
        "slo": SloSettings,
        "log": LogSettings,
    }
    assert {table for table in tables if "." not in table} == Settings.model_fields.keys()
    expected = {
        f"{table}.{name}": NotImplemented
        if field.is_required()
        else field.get_default(call_default_factory=True)
        for table, model in tables.items()
        for name, field in model.model_fields.items()
        if name not in {"tls", "listen_tls", "basic_auth", "headers"}
    }
    assert {name: rows.get(name) for name in expected} == {
        name: show(default) for name, default in expected.items()
    }


def show(default: object) -> str:
    """Write a default as the document does."""
    if default is NotImplemented:
        return "required"
    if default is None or default == {}:
        return "none"
    if isinstance(default, tuple):
        texts = (f'"{one}"' if isinstance(one, str) else f"{one:g}" for one in default)
        return f"`[{', '.join(texts)}]`"
    text = f'"{default}"' if isinstance(default, str) else f"{default!s}".lower()
    return f"`{text.removesuffix('.0')}`"


def test_defaults_agree_with_the_parts_that_use_them() -> None:
    settings = InspectionSettings().model_dump()
    assert settings.pop("enabled") is True
    assert settings == msgspec.structs.asdict(Limits())


def test_no_more_tools_become_labels_than_the_inspection_reads() -> None:
    assert MAX_LISTED_TOOLS == MAX_TOOLS
    assert MetricsSettings(max_listed_tools=MAX_TOOLS).max_listed_tools == MAX_TOOLS
    with pytest.raises(ValidationError, match="no more tools of a list are read"):
        MetricsSettings(max_listed_tools=MAX_TOOLS + 1)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_settings_are_frozen_and_refuse_what_they_do_not_know(model: type[BaseModel]) -> None:
    assert model.model_config["frozen"]
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["hide_input_in_errors"]


def test_settings_read_nothing_but_their_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_PROXY_EXPORTER__LOG__LEVEL", "debug")
    monkeypatch.setenv("LOG__LEVEL", "debug")
    assert Settings(servers=(build(),)).log.level == "info"


def test_names_of_servers_and_of_tables_differ() -> None:
    # Variables set the only server's settings beside the tables.
    assert set(ServerSettings.model_fields).isdisjoint(Settings.model_fields)


def test_conflicts_are_found_without_a_file_too() -> None:
    with pytest.raises(ValidationError, match="is the name of servers") as caught:
        Settings(servers=(build(), build()), admin=AdminSettings(listen=":8080"))
    assert [error["loc"] for error in caught.value.errors()] == [
        ("servers", 1, "name"),
        ("servers", 1, "listen"),
        ("admin", "listen"),
    ]


def test_there_must_be_room_for_one_message_and_one_text_of_a_call() -> None:
    exact: dict[str, Any] = {
        "max_message_bytes": 7,
        "max_buffered_bytes": 7,
        "max_rule_bytes": 5,
        "max_kept_bytes": 5,
    }
    assert InspectionSettings(**exact).max_buffered_bytes == 7
    for name in ("max_message_bytes", "max_rule_bytes"):
        with pytest.raises(ValidationError, match=f"is less than {name}"):
            InspectionSettings(**{**exact, name: exact[name] + 1})


def test_rules_without_inspection_are_refused() -> None:
    off = InspectionSettings(enabled=False)
    assert Settings(servers=(build(),), inspection=off).inspection == off
    metric = CustomMetricSettings(name="x_total", type="counter")
    rule = SoftErrorSettings(when="error")
    for rules in (
        {"metrics": MetricsSettings(custom=(metric,))},
        {"outcomes": OutcomesSettings(soft_errors=(rule,))},
    ):
        with pytest.raises(ValidationError, match=r"has no use: inspection\.enabled is false"):
            Settings(servers=(build(),), inspection=off, **rules)


def test_port_zero_conflicts_with_nothing() -> None:
    servers = (build(name="a", listen=":0"), build(name="b", listen=":0"))
    assert len(Settings(servers=servers, admin=AdminSettings(listen=":0")).servers) == 2


@pytest.mark.parametrize("host", ["auto", "preserve", "upstream", "cats.example", "cats:80", "up"])
def test_host_header_is_a_rule_or_an_authority(host: str) -> None:
    assert build(host_header=host).host_header == host


def test_allowed_hosts_are_kept_in_lower_case() -> None:
    assert build(allowed_hosts=("Cats.Example:80", "[::1]")).allowed_hosts == (
        "cats.example:80",
        "[::1]",
    )


@pytest.mark.parametrize(
    ("origin", "kept"),
    [
        ("null", "null"),
        ("https://App.Example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("http://[::1]:6274", "http://[::1]:6274"),
        ("vscode-webview://abc", "vscode-webview://abc"),
    ],
)
def test_origins_are_kept_as_browsers_send_them(origin: str, kept: str) -> None:
    assert build(allowed_origins=(origin,)).allowed_origins == (kept,)


@pytest.mark.parametrize(
    "origin",
    ["", "*", "app.example", "https://", "https://*.example", "https://a.example/", "NULL", "a b"],
)
def test_what_no_browser_sends_is_no_origin(origin: str) -> None:
    with pytest.raises(ValidationError):
        build(allowed_origins=(origin,))


def test_trusted_proxies_are_addresses_and_networks() -> None:
    given = ("10.0.0.0/8", "127.0.0.1", "::1", "fd00::/8")
    server = build(trusted_proxies=given)
    assert server.trusted_proxies == ("10.0.0.0/8", "127.0.0.1/32", "::1/128", "fd00::/8")
    assert [str(network) for network in server.trusted_networks] == [*server.trusted_proxies]
    for wrong in ("10.0.0.1/8", "localhost", "", "10.0.0.0/33"):
        with pytest.raises(ValidationError, match="no address or network"):
            build(trusted_proxies=(wrong,))
    with pytest.raises(ValidationError, match="has no use"):
        build(trusted_proxies=("::1",), forwarded="preserve")


@pytest.mark.parametrize("via", ["", "edge-1", "proxy.example:8080", "[::1]:80"])
def test_via_is_a_name(via: str) -> None:
    assert build(via=via).via == via


@pytest.mark.parametrize("via", ["a b", "a, b", "(a)", "a\r\nb", "caf\u00e9"])
def test_what_would_break_the_field_is_no_name_for_via(via: str) -> None:
    with pytest.raises(ValidationError):
        build(via=via)


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("127.0.0.1:8080", "http://localhost:8080"),
        (":8080", "http://[::1]:8080"),
        ("0.0.0.0:80", "http://127.0.0.1"),
        ("10.0.0.1:8080", "http://10.0.0.1:8080"),
        ("unix:/s", "unix:/s"),
    ],
)
def test_a_proxy_is_not_its_own_upstream(listen: str, upstream: str) -> None:
    with pytest.raises(ValidationError, match="where this proxy listens"):
        build(listen=listen, upstream=upstream)


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        (":8080", "http://mcp-server:8080"),
        ("10.0.0.1:8080", "http://127.0.0.1:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8081"),
        ("127.0.0.1:0", "http://127.0.0.1:1"),
        ("unix:/a", "unix:/b"),
        ("unix:/a", "http://127.0.0.1:1"),
    ],
)
def test_a_neighbour_on_the_same_port_is_an_upstream(listen: str, upstream: str) -> None:
    assert build(listen=listen, upstream=upstream).upstream == upstream


def test_every_limit_has_a_count() -> None:
    assert {*LimitSettings.model_fields} <= LIMITS
    shutdown = {"drain", "shutdown_delay"}
    assert {*TimeoutSettings.model_fields} - shutdown == LIMITS - {*LimitSettings.model_fields}


@pytest.mark.parametrize(("ending", "value"), [("", b"x"), ("\n", b"x"), ("\r\n", b"x")])
def test_header_comes_from_a_file_without_its_last_newline(
    tmp_path: Path, ending: str, value: bytes
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"x" + ending.encode())
    assert HeaderSettings(file=file).reveal() == value


def test_header_comes_from_a_variable_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "\u00fc\udcff")
    assert HeaderSettings(env="TOKEN", prefix=SecretStr("t ")).reveal() == b"t \xc3\xbc\xff"


def test_literal_header_may_be_empty() -> None:
    assert HeaderSettings(value=SecretStr("")).reveal() == b""


def test_secrets_are_in_no_text_that_settings_turn_into(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(CANARY)
    monkeypatch.setenv("TOKEN", CANARY)
    server = build(
        headers={
            "A": HeaderSettings(value=SecretStr(CANARY), prefix=SecretStr(CANARY)),
            "B": HeaderSettings(env="TOKEN"),
            "C": HeaderSettings(file=file),
        }
    )
    settings = Settings(servers=(server,))
    assert all(CANARY.encode() in value for _, value in server.header_fields())
    for text in (
        repr(settings),
        str(settings),
        str(settings.model_dump()),
        settings.model_dump_json(),
        repr(server.headers),
    ):
        assert CANARY not in text


def test_secrets_are_in_no_error_of_direct_use() -> None:
    with pytest.raises(ValidationError) as caught:
        build(upstream=f"http://u:{CANARY}@h", headers={"A": CANARY}, token=CANARY)
    assert CANARY not in str(caught.value)
    assert len(caught.value.errors()) == 3
