"""Rules made of objectives: the command, what promtool makes of them, patterns of tools."""

import random
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mcp_proxy_exporter import cli
from mcp_proxy_exporter.config import SloSettings
from mcp_proxy_exporter.config.slo import MAX_DAYS, MIN_DAYS
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.slo import DEFAULT_SLOS, render_rules
from mcp_proxy_exporter.slo.pattern import match_label, quote, translate
from tests.support.product import run_configured
from tests.support.programs import consult, find_free_port
from tests.support.promql import find_strangers, read_query
from tests.support.rule_files import PROMETHEUS, ROOT, Alert, read_rules

SERVERS = '[[servers]]\nname = "cats"\nupstream = "http://h"\n'
OWN = (
    SERVERS
    + """
[[slo]]
name = "search: \\"it's there\\" # {{ $x }} \\\\ 🐱"
server = "cats"
tool = "search_[!x]*"
objective = 0.999
window = "28d"

[[slo]]
server = "cats"
tool = "scratch.sofa"
objective = 0.9
latency = 2.5
"""
)
# What fnmatch, RE2, PromQL, YAML and templates each treat in a way of their own.
SPECIAL = "ab-]![*?^\\.{}()|+$\"'#:%&~ éß🐱\ufffd"
CALLS = 'mcp_tool_calls_total{{job="j", instance="a", server="{}", tool="x", outcome="{}"}}'
GLOBS = st.text(SPECIAL, min_size=1, max_size=8)
NAMES = st.text(SPECIAL, min_size=1, max_size=6)


def run_promtool(*arguments: str | Path) -> str:
    """Run promtool; it has to be content."""
    return consult("promtool", *arguments, seconds=50)


def print_rules(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command on a configuration."""
    config = tmp_path / "proxy.toml"
    config.write_text(text)
    assert cli.main(["rules", "--config", str(config)]) == 0
    return capsys.readouterr().out


def list_paces(alerts: list[Alert]) -> list[tuple[str, str, str]]:
    """Give severity, window and limit of burn alerts."""
    return [
        (
            alert.labels["severity"],
            alert.labels["window"],
            alert.expr.splitlines()[0].split("> ")[1],
        )
        for alert in alerts
    ]


def test_the_shipped_rules_are_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["rules"]) == 0
    assert capsys.readouterr().out == (PROMETHEUS / "rules" / "slo.yml").read_text()


def test_a_configuration_gives_the_same_text_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_rules(tmp_path, OWN, capsys) == print_rules(tmp_path, OWN, capsys)


def test_a_configuration_without_objectives_gives_no_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(SERVERS)
    assert cli.main(["rules", "--config", str(config)]) == 2
    assert capsys.readouterr() == ("", f"{config}: has no [[slo]]\n")


def test_a_wrong_configuration_gives_no_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(OWN.replace("0.999", "99.9"))
    assert cli.main(["rules", "--config", str(config)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "slo[0].objective: must be a ratio" in shown.err


def test_promtool_finds_nothing_wrong_with_rules_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "slo.yml"
    written.write_text(print_rules(tmp_path, OWN, capsys))
    assert "SUCCESS" in run_promtool("check", "rules", "--lint=all", "--lint-fatal", written)
    rules = read_rules(written.read_text())
    known = rules.labels
    # It may name tools: they are the operator's.
    selected = [expr.replace("search_[^x].*", "_other") for expr in rules.expressions]
    selected = [expr.replace("scratch.sofa", "_other") for expr in selected]
    assert [find_strangers(expr, known) for expr in selected] == [[]] * len(selected)


def test_the_documents_example_is_a_good_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [toml] = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "alerts.md").read_text(), re.DOTALL)
    rules = read_rules(print_rules(tmp_path, SERVERS + toml, capsys))
    assert {alert.name for alert in rules.alerts} == {"MCPErrorBudgetBurn", "MCPLatencyBudgetBurn"}


def test_every_window_is_recorded() -> None:
    rules = read_rules(render_rules([SloSettings(objective=0.9, window="4w")]))
    ratios = [name.rpartition("_rate")[2] for name in rules.records if "ratio_rate" in name]
    assert ratios == ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "28d"]


def test_budgets_burn_at_the_pace_of_the_workbook() -> None:
    rules = read_rules(render_rules([SloSettings(objective=0.999)]))
    assert list_paces(rules.alerts) == [
        ("critical", "1h", "14.4 * 0.001"),
        ("critical", "6h", "6 * 0.001"),
        ("warning", "1d", "3 * 0.001"),
        ("warning", "3d", "1 * 0.001"),
    ]
    weeks = read_rules(render_rules([SloSettings(objective=0.999, window="28d")]))
    assert [limit for _, _, limit in list_paces(weeks.alerts)] == [
        "13.44 * 0.001",
        "5.6 * 0.001",
        "2.8 * 0.001",
        "1 * 0.001",
    ]


@pytest.mark.parametrize("days", range(MIN_DAYS, MAX_DAYS + 1))
def test_no_alert_fires_while_the_budget_lasts(days: int) -> None:
    rules = read_rules(render_rules([SloSettings(objective=0.999, window=f"{days}d")]))
    paces = list_paces(rules.alerts)
    factors = [float(limit.partition(" ")[0]) for _, _, limit in paces]
    assert factors == sorted(set(factors), reverse=True)
    assert factors[-1] >= 1
    # Somebody is told of a slow loss, too, and not woken.
    assert paces[-1][0] == "warning"
    assert factors[-1] < 1.5 or paces[-1][1] == "3d"


def test_a_promise_of_a_week_that_is_kept_is_nobodys_business(tmp_path: Path) -> None:
    rules = render_rules([SloSettings(name="week", objective=0.99, window="7d")])
    (tmp_path / "slo.yml").write_text(rules)
    samples = [{"labels": '{server="dogs", window="1d"}', "value": 1}]
    series = [
        {"series": CALLS.format(server, outcome), "values": f"0+{each}x200"}
        for server, bad in (("cats", 9), ("dogs", 12))
        for outcome, each in (("success", 1000 - bad), ("http_error", bad))
    ]
    test = {
        "expr": 'count by (server, window) (ALERTS{alertstate="firing"})',
        "eval_time": "3h",
        "exp_samples": samples,
    }
    check_rules(tmp_path, {"interval": "1m", "input_series": series, "promql_expr_test": [test]})


def test_objectives_of_one_kind_have_alerts_of_their_own(tmp_path: Path) -> None:
    names = ("a", "b {{ $x }} {{{")
    slos = [SloSettings(name=name, objective=0.99) for name in names]
    (tmp_path / "slo.yml").write_text(render_rules(slos))
    said = run_promtool("check", "rules", "--lint=all", "--lint-fatal", tmp_path / "slo.yml")
    assert "SUCCESS" in said
    series = [{"series": CALLS.format("cats", "upstream_closed"), "values": "0+9x60"}]
    alert = {
        "alertname": "MCPErrorBudgetBurn",
        "eval_time": "5m",
        "exp_alerts": [
            {
                "exp_labels": {"job": "j", "server": "cats", "slo": name}
                | {"severity": "critical", "window": "1h"},
                "exp_annotations": {
                    "summary": f"cats spends the error budget of {name} too fast",
                    "description": "100% of the tool calls of cats (j) got no answer in the last "
                    "1h. That is more than 14.4x what the objective allows, at which a budget of "
                    "30 days lasts 50 hours.",
                    "runbook_url": "docs/runbooks/MCPErrorBudgetBurn.md",
                },
            }
            for name in names
        ],
    }
    check_rules(tmp_path, {"interval": "1m", "input_series": series, "alert_rule_test": [alert]})


def check_rules(folder: Path, *tests: dict[str, Any]) -> None:
    """Let promtool try the rules in ``slo.yml``."""
    file = folder / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": ["slo.yml"], "evaluation_interval": "1m", "tests": [*tests]})
    )
    assert "SUCCESS" in run_promtool("test", "rules", file)


def test_a_pair_that_could_never_fire_is_left_out() -> None:
    rules = read_rules(render_rules([SloSettings(objective=0.9)]))
    assert [window for _, window, _ in list_paces(rules.alerts)] == ["6h", "1d", "3d"]
    assert list_paces(read_rules(render_rules([SloSettings(objective=0.5)])).alerts) == [
        ("warning", "3d", "1 * 0.5")
    ]


def test_tiny_budgets_are_written_out() -> None:
    rules = read_rules(render_rules([SloSettings(objective=0.99999999)]))
    assert rules.records["slo:error_budget:ratio"] == ["vector(0.00000001)\n"]


def list_outcomes(record: str) -> set[str]:
    """Give the outcomes that a recording of the first shipped objective asks for."""
    [expr] = read_rules(render_rules(DEFAULT_SLOS[:1])).records[record]
    return {
        outcome
        for _, matchers in read_query(expr).selectors
        for label, value in matchers
        if label == "outcome"
        for outcome in value.split("|")
    }


def test_the_document_tells_how_each_outcome_counts() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    text = text.partition("## What is a good call")[2].partition("\n## ")[0]
    rows: dict[str, str] = {}
    for names, judgement in re.findall(r"(?m)^\| (`.*?) \| (good|bad|neither) \|", text):
        for name in re.findall("`([a-z_]+)`", names):
            rows.setdefault(name, judgement)
    rows.pop("_other")
    assert set(rows) == set(Outcome)
    good = {name for name, judgement in rows.items() if judgement == "good"}
    bad = {name for name, judgement in rows.items() if judgement == "bad"}
    assert list_outcomes("slo:mcp_calls:increase5m") == good
    assert list_outcomes("slo:mcp_bad_calls:increase5m") - good == bad


def test_the_proxy_runs_with_objectives_as_without(tmp_path: Path) -> None:
    admin = f"127.0.0.1:{find_free_port()}"
    config = tmp_path / "proxy.toml"
    config.write_text(
        OWN.replace('name = "cats"\nup', 'name = "cats"\nlisten = "127.0.0.1:0"\nup')
        + f'[admin]\nlisten = "{admin}"\n'
    )
    with run_configured(config, f"http://{admin}") as proxy:
        assert proxy.scrape().value("mcp_sessions_active", server="cats") == 0


def make_series(tool: str, outcome: str, values: str) -> dict[str, str]:
    """Give the calls of a tool of the cats to promtool."""
    name = 'mcp_tool_calls_total{{job="j", instance="a", server="cats", tool="{}", outcome="{}"}}'
    return {"series": name.format(tool, outcome), "values": values}


def test_rules_of_ones_own_fire_and_keep_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "slo.yml").write_text(print_rules(tmp_path, OWN, capsys))
    firing = 'count by (severity, window) (ALERTS{alertstate="firing"})'

    def expect(*series: dict[str, str], fire: list[str]) -> dict[str, Any]:
        samples = [{"labels": f"{{severity={one}}}", "value": 1} for one in fire]
        test = {"expr": firing, "eval_time": "40m", "exp_samples": samples}
        return {"interval": "1m", "input_series": list(series), "promql_expr_test": [test]}

    good = make_series("search_a", "success", "0+100x60")
    both = ['"critical", window="1h"', '"critical", window="6h"']
    tests = [
        expect(good, make_series("search_a", "http_error", "0+2x60"), fire=both),
        # Another tool, one that the pattern leaves out, failures of the tool, too few of them.
        expect(good, make_series("other", "http_error", "0+2x60"), fire=[]),
        expect(good, make_series("search_x", "http_error", "0+2x60"), fire=[]),
        expect(good, make_series("search_a", "tool_error", "0+2x60"), fire=[]),
        expect(make_series("search_a", "http_error", "0x30 3x30"), fire=[]),
    ]
    check_rules(tmp_path, *tests)


@pytest.mark.parametrize(
    ("glob", "matcher"),
    [
        ("*", ""),
        ("scratch_sofa", 'tool="scratch_sofa"'),
        ('a"b\\', r'tool="a\"b\\"'),
        ("search_*", 'tool=~"search_.*"'),
        ("a.b?", r'tool=~"a\\.b."'),
        ("[a-c]x", 'tool=~"[a-c]x"'),
        ("[!a]", 'tool=~"[^a]"'),
        ("[]^-]", r'tool=~"[\\]\\^\\-]"'),
        ("[", 'tool=~"\\\\["'),
        ("[!", 'tool=~"\\\\[\\\\!"'),
        ("[!]", 'tool=~"\\\\[\\\\!\\\\]"'),
        ("[z-a]", r'tool=~"[^\\x00-\\x{10FFFF}]"'),
        ("[!z-a]", 'tool=~"."'),
    ],
)
def test_patterns_become_matchers(glob: str, matcher: str) -> None:
    assert match_label("tool", glob) == matcher


@given(glob=GLOBS, name=NAMES)
def test_patterns_mean_what_they_mean_in_python(glob: str, name: str) -> None:
    # Python knows all that is used of RE2, but for a class without members.
    pattern = translate(glob).replace(r"[^\x00-\x{10FFFF}]", "(?!)")
    assert bool(re.fullmatch(pattern, name)) == fnmatchcase(name, glob)


def test_patterns_mean_the_same_to_prometheus(tmp_path: Path) -> None:
    chance = random.Random(1)  # noqa: S311  # the same ones each time
    globs = {"".join(chance.choices(SPECIAL, k=chance.randint(1, 6))) for _ in range(300)}
    names = {"".join(chance.choices(SPECIAL, k=chance.randint(1, 3))) for _ in range(100)}
    # Some that match for certain.
    names |= {re.sub(r"[*?\[]", "a", glob) for glob in globs}
    series = {name: f"x{{tool={quote(name)}}}" for name in names}
    tests = [
        {
            "expr": f"x{{{match_label('tool', glob)}}}",
            "eval_time": "0s",
            "exp_samples": [
                {"labels": of, "value": 1} for name, of in series.items() if fnmatchcase(name, glob)
            ],
        }
        for glob in globs
    ]
    inputs = [{"series": of, "values": "1"} for of in series.values()]
    file = tmp_path / "test.yml"
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": tests}
    file.write_text(yaml.safe_dump({"tests": [test]}, allow_unicode=True))
    assert "SUCCESS" in run_promtool("test", "rules", file)


def test_what_a_string_cannot_hold_is_escaped() -> None:
    assert quote('a"b\\c\ufffd') == r'"a\"b\\c\ufffd"'
