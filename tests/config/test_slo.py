"""Objectives in a file: what makes sense, and where what does not stands."""

from pathlib import Path

import pytest

from mcp_proxy_exporter.config import SloSettings, load
from mcp_proxy_exporter.observe.catalogue import FAMILIES
from tests.support.configured import complain, read

SLO = "[[slo]]\nobjective = 0.99\n"


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    [slo] = read(tmp_path, SLO).slo
    assert (slo.server, slo.tool, slo.latency, slo.window) == (None, "*", None, "30d")
    assert (slo.title, slo.days) == ("*/* availability", 30)
    assert read(tmp_path, "").slo == ()


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = 'server = "cats"\ntool = "a*"\nlatency = 2.5\nname = "fast"\nwindow = "4w"\n'
    [slo] = read(tmp_path, SLO + text).slo
    assert (slo.server, slo.tool, slo.latency, slo.title, slo.days) == (
        "cats", "a*", 2.5, "fast", 28,
    )  # fmt: skip


def test_variables_can_say_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_PROXY_EXPORTER__UPSTREAM", "http://h")
    monkeypatch.setenv("MCP_PROXY_EXPORTER__SLO", '[{"objective": 0.9}]')
    assert load().slo[0].objective == 0.9


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # Three lines of a server, then the table at line 4.
        ("[[slo]]", "4: slo[0].objective: is required"),
        (
            SLO.replace("0.99", "99.9"),
            "5: slo[0].objective: must be a ratio between 0 and 1, like 0.999 for 99.9 %, got 99.9",
        ),
        (
            SLO.replace("0.99", "1"),
            "5: slo[0].objective: must be a ratio between 0 and 1, like 0.999 for 99.9 %, got 1",
        ),
        (SLO + 'server = "dogs"', "6: slo[0].server: is no server; configured: cats"),
        (
            SLO + 'tool = ""',
            "6: slo[0].tool: must be a name or a pattern, like \"search_*\", got ''",
        ),
        (
            SLO + 'name = "a\\nb"',
            "6: slo[0].name: must be one line of text, and not empty, got 'a\\nb'",
        ),
        (
            SLO + "latency = 3",
            (
                "6: slo[0].latency: is no bucket of mcp_tool_call_duration_seconds; there are: "
                "0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300"
            ),
        ),
        (
            SLO + "latency = 5\n[metrics]\nduration_buckets = [1, 2]",
            ("6: slo[0].latency: is no bucket of mcp_tool_call_duration_seconds; there are: 1, 2"),
        ),
        (SLO + "latency = 0", "6: slo[0].latency: should be greater than 0, got 0"),
        *(
            (
                SLO + f'window = "{window}"',
                f'6: slo[0].window: must be 7 to 90 days, like "30d" or "4w", got \'{window}\'',
            )
            for window in ("6d", "91d", "13w", "30", "1h", "")
        ),
        (SLO + "latncy = 1", "6: slo[0].latncy: unknown setting; did you mean `latency`?"),
        (SLO + SLO, "6: slo[1]: is called '*/* availability', as slo[0] is"),
        (
            SLO + 'name = "a"\n' + SLO + 'name = "a"',
            "9: slo[1].name: is called 'a', as slo[0] is",
        ),
        (
            SLO + '[metrics]\ndisable = ["mcp_tool_calls*"]',
            "4: slo[0]: needs mcp_tool_calls_total, which metrics.disable switches off",
        ),
        (
            SLO + 'latency = 5\n[metrics]\ndisable = ["*_seconds"]',
            "4: slo[0]: needs mcp_tool_call_duration_seconds, which metrics.disable switches off",
        ),
        ("[slo]\nobjective = 1", "4: slo: must be tables headed [[slo]]"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    assert complain(tmp_path, text) == [problem]


def test_what_is_wrong_is_told_all_at_once(tmp_path: Path) -> None:
    text = SLO + 'server = "dogs"\nlatency = 3\n' + SLO + 'server = "mice"'
    assert [line.partition(": is ")[0] for line in complain(tmp_path, text)] == [
        "6: slo[0].server",
        "7: slo[0].latency",
        "10: slo[1].server",
    ]


def test_buckets_and_switches_of_the_family_decide(tmp_path: Path) -> None:
    text = SLO + (
        'latency = 3\n[metrics]\ndisable = ["*"]\nenable = ["mcp_tool_call_duration_seconds"]\n'
        "buckets = { mcp_tool_call_duration_seconds = [3, 4] }"
    )
    assert read(tmp_path, text).slo[0].latency == 3


def test_families_that_objectives_need_exist() -> None:
    names = {family.name for family in FAMILIES}
    slos = (SloSettings(objective=0.9), SloSettings(objective=0.9, latency=1))
    assert {slo.family for slo in slos} <= names
