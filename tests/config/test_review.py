"""Settings that are well-formed, and that nothing in the product answers to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_proxy_exporter.config import ConfigError, MetricsSettings, load
from mcp_proxy_exporter.config.section import KeyPath
from mcp_proxy_exporter.observe.metrics import review

GOOD = '[[servers]]\nupstream = "http://h"\n'


def complain(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, review=review)
    return str(caught.value).replace(str(file), "FILE").splitlines()


def test_what_no_family_answers_to_is_named_with_its_place(tmp_path: Path) -> None:
    text = f"""{GOOD}
[metrics]
disable = [
  "mcp_tool_*",
  "mcp_toolz",
]
labels = {{ env = "prod", code = "1" }}
[metrics.buckets]
mcp_tools = [1]
"""
    assert complain(tmp_path / "proxy.toml", text) == [
        "FILE:7: metrics.disable[1]: matches no metric family; did you mean `mcp_tools`?",
        "FILE:9: metrics.labels.code: is a label of mcp_jsonrpc_errors_total already",
        "FILE:11: metrics.buckets.mcp_tools: is a gauge: only histograms have buckets",
    ]


def test_complaints_come_together_with_those_about_other_tables(tmp_path: Path) -> None:
    text = f"{GOOD}name = 3\n[metrics]\nenable = ['nothing']"
    assert complain(tmp_path / "proxy.toml", text) == [
        "FILE:3: servers[0].name: should be a valid string, got 3",
        "FILE:5: metrics.enable[0]: matches no metric family",
    ]


def test_variables_are_reviewed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_PROXY_EXPORTER__UPSTREAM", "http://h")
    monkeypatch.setenv("MCP_PROXY_EXPORTER__METRICS__DISABLE", '["nothing"]')
    with pytest.raises(ConfigError) as caught:
        load(review=review)
    assert str(caught.value) == (
        "MCP_PROXY_EXPORTER__METRICS__DISABLE: metrics.disable[0]: matches no metric family"
    )


def test_what_is_malformed_is_not_reviewed(tmp_path: Path) -> None:
    def refuse(_settings: MetricsSettings) -> Iterator[tuple[KeyPath, str]]:
        pytest.fail("there is nothing to review")

    file = tmp_path / "proxy.toml"
    for line in ("metrics.semconv = 'maybe'", "metrics = 3"):
        file.write_text(f"{line}\n{GOOD}")
        with pytest.raises(ConfigError):
            load(file, review=refuse)


def test_switches_are_read_from_every_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_PROXY_EXPORTER__METRICS__LABELS", '{"env": "prod"}')
    monkeypatch.setenv("MCP_PROXY_EXPORTER__METRICS__SEMCONV", "true")
    file = tmp_path / "proxy.toml"
    file.write_text(f"{GOOD}[metrics]\nbuckets = {{ mcp_session_duration_seconds = [1, 2] }}")
    metrics = load(file, review=review).metrics
    assert metrics.labels == {"env": "prod"}
    assert metrics.semconv
    assert metrics.buckets == {"mcp_session_duration_seconds": (1, 2)}
