"""Which settings can change in a running process."""

from pathlib import Path
from typing import Any

import pytest
import trustme

from mcp_proxy_exporter.config import (
    AdminSettings,
    ServerSettings,
    Settings,
    changes,
    find_fixed,
)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    file: Path = tmp_path_factory.mktemp("tls") / "a.pem"
    trustme.CA().issue_cert("a").private_key_and_cert_chain_pem.write_to_path(str(file))
    return str(file)


def build(*servers: dict[str, Any], **tables: Any) -> Settings:
    rows = servers or ({},)
    settings = [
        {"name": f"s{index}", "listen": ":0", "upstream": "https://h", **row}
        for index, row in enumerate(rows)
    ]
    return Settings.model_validate({"servers": settings, **tables})


@pytest.mark.parametrize(
    "change",
    [
        build({"headers": {"A": {"value": "b"}}}),
        build({"allowed_hosts": ["a"]}),
        build({"host_header": "preserve"}),
        build({"tls": {"insecure_skip_verify": True, "min_version": "1.3", "server_name": "b"}}),
        build(timeouts={"drain": 1, "connect": 2}),
        build(limits={"head_bytes": 2000}),
        build(admin={"bearer_token": {"value": "x"}}),
        build(admin={"basic_auth": {"username": "a", "password": {"value": "x"}}}),
        build(log={"level": "debug"}),
        build(slo=[{"objective": 0.9}]),
    ],
    ids=str,
)
def test_what_is_looked_at_anew_each_time_can_change(change: Settings) -> None:
    assert find_fixed(build(), change) == []
    assert find_fixed(change, build()) == []
    assert find_fixed(change, change) == []


def test_what_lives_as_long_as_the_process_is_named(pem: str) -> None:
    tls = {"cert_file": pem}
    changes: list[tuple[Settings, list[str]]] = [
        (build({"name": "x"}), ["servers"]),
        (build({}, {}), ["servers"]),
        (build({"listen": ":1"}), ["servers[0].listen"]),
        (build({"upstream": "https://i"}), ["servers[0].upstream"]),
        (build({"listen_tls": tls}), ["servers[0].listen_tls.cert_file"]),
        (build(admin={"listen": ":1"}), ["admin.listen"]),
        (build(admin={"tls": tls}), ["admin.tls.cert_file"]),
        (
            build(inspection={"enabled": False}, metrics={"max_tools": 1, "semconv": True}),
            ["inspection.enabled", "metrics.max_tools", "metrics.semconv"],
        ),
        (build(outcomes={"soft_errors": [{"when": "result"}]}), ["outcomes.soft_errors"]),
        (
            build({"listen": ":1", "upstream": "https://i"}, timeouts={"drain": 1}),
            ["servers[0].listen", "servers[0].upstream"],
        ),
    ]
    for change, named in changes:
        assert find_fixed(build(), change) == named
        assert find_fixed(change, build()) == named


def test_file_of_a_certificate_can_move(pem: str, tmp_path: Path) -> None:
    moved = tmp_path / "b.pem"
    moved.write_bytes(Path(pem).read_bytes())
    old, new = ({"listen_tls": {"cert_file": str(file)}} for file in (pem, moved))
    assert find_fixed(build(old), build(new)) == []


def test_each_server_is_compared_with_its_own() -> None:
    assert find_fixed(
        build({}, {"upstream": "https://a"}), build({}, {"upstream": "https://b"})
    ) == ["servers[1].upstream"]
    # In another order they would not be told apart by their places.
    first, second = {"name": "a"}, {"name": "b"}
    assert find_fixed(build(first, second), build(second, first)) == ["servers"]


def test_names_of_what_can_change_are_settings() -> None:
    assert Settings.model_fields.keys() >= changes._CHANGEABLE_TABLES
    assert AdminSettings.model_fields.keys() >= changes._CHANGEABLE_OF_ADMIN
    assert ServerSettings.model_fields.keys() >= changes._CHANGEABLE_OF_SERVERS
