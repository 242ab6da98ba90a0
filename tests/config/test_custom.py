"""Custom metrics and soft errors in a file: what fits together, and where what does not stands."""

from pathlib import Path

import pytest

from mcp_proxy_exporter.config import load
from mcp_proxy_exporter.config.custom import (
    MAX_CUSTOM_METRICS,
    RESERVED_PREFIXES,
    CustomMetricSettings,
)
from mcp_proxy_exporter.config.globs import matches
from mcp_proxy_exporter.observe.catalogue import FAMILIES
from tests.support.configured import complain, read

COUNTER = '[[metrics.custom]]\nname = "x_total"\ntype = "counter"\n'
GAUGE = '[[metrics.custom]]\nname = "x"\ntype = "gauge"\nvalue = "arguments.x"\n'
HISTOGRAM = GAUGE.replace("gauge", "histogram") + "buckets = [1]\n"
RULE = '[[outcomes.soft_errors]]\nwhen = "error"\n'


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    [metric] = read(tmp_path, COUNTER).metrics.custom
    assert (metric.tools, metric.servers, metric.value, metric.when) == (("*",), ("*",), None, None)
    assert (metric.labels, metric.label_limit, metric.buckets) == ({}, 50, ())
    [rule] = read(tmp_path, RULE).outcomes.soft_errors
    assert (rule.tools, rule.servers, rule.reason) == (("*",), ("*",), None)
    assert read(tmp_path, "").metrics.custom == ()


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = (
        HISTOGRAM
        + 'help = "H%s"\ntools = ["a*", "b"]\nservers = ["c*"]\nwhen = "tool"\n'
        + 'labels = { client = "client.name" }\nlabel_limit = 3\n'
        + RULE
        + 'reason = "outcome"\ntools = ["a"]\nservers = ["cats"]\n'
    )
    [metric] = read(tmp_path, text).metrics.custom
    assert metric.labels == {"client": "client.name"}
    assert metric.buckets == (1,)


def test_variables_can_say_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_PROXY_EXPORTER__UPSTREAM", "http://h")
    monkeypatch.setenv(
        "MCP_PROXY_EXPORTER__METRICS__CUSTOM", '[{"name": "x_total", "type": "counter"}]'
    )
    monkeypatch.setenv("MCP_PROXY_EXPORTER__OUTCOMES__SOFT_ERRORS", '[{"when": "error"}]')
    settings = load()
    assert settings.metrics.custom[0].name == "x_total"
    assert settings.outcomes.soft_errors[0].when == "error"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # Three lines of a server, then the table at line 4.
        (
            COUNTER.replace("x_total", "x"),
            "5: metrics.custom[0].name: must end in _total, as counters do: `x_total`",
        ),
        (
            COUNTER.replace("x_total", "x_count_total"),
            "5: metrics.custom[0].name: must not have _count before _total",
        ),
        (
            COUNTER.replace("x_total", "_total"),
            "5: metrics.custom[0].name: must have a name before _total",
        ),
        (
            GAUGE.replace('"x"', '"x_total"'),
            "5: metrics.custom[0].name: must not end in _total, which a gauge cannot have",
        ),
        (
            HISTOGRAM.replace('"x"', '"x_bucket"'),
            "5: metrics.custom[0].name: must not end in _bucket, which a histogram cannot have",
        ),
        (
            COUNTER.replace("x_total", "mcp_x_total"),
            (
                "5: metrics.custom[0].name: must not begin with mcp_, as the exporter's own "
                "metrics do, got 'mcp_x_total'"
            ),
        ),
        (
            COUNTER.replace("x_total", "a:b_total"),
            (
                "5: metrics.custom[0].name: must be letters, digits and '_', and not begin with a "
                "digit, got 'a:b_total'"
            ),
        ),
        (
            COUNTER.replace("counter", "conter"),
            (
                "6: metrics.custom[0].type: should be 'counter', 'gauge', 'histogram' or "
                "'summary', got 'conter'"
            ),
        ),
        (
            GAUGE.replace('value = "arguments.x"\n', ""),
            "4: metrics.custom[0]: needs a value: only a counter counts calls without, no gauge",
        ),
        (
            HISTOGRAM.replace("buckets = [1]\n", ""),
            "4: metrics.custom[0]: needs buckets, the upper bounds of a histogram",
        ),
        (
            GAUGE + "buckets = [1]",
            "8: metrics.custom[0].buckets: has no use: a gauge has no buckets",
        ),
        *(
            (
                HISTOGRAM.replace("[1]", buckets),
                (
                    "8: metrics.custom[0].buckets: must be positive numbers, each larger than "
                    "the one before"
                ),
            )
            for buckets in ("[0, 1]", "[1, 1]", "[2, 1]")
        ),
        (
            HISTOGRAM.replace("[1]", "[1, inf]"),
            "8: metrics.custom[0].buckets[1]: should be a finite number, got inf",
        ),
        (
            COUNTER + 'when = "argument.x"',
            (
                "7: metrics.custom[0].when: asks for `argument`, which a call does not have; did "
                "you mean `arguments`?, got 'argument.x'"
            ),
        ),
        (
            COUNTER + '[metrics.custom.labels]\na = "tool"\nb = "tool ="',
            (
                "9: metrics.custom[0].labels.b: is no JMESPath expression: unknown token '=' at "
                "character 6; equality is written ==, got 'tool ='"
            ),
        ),
        (
            COUNTER + 'labels = { tool = "tool" }',
            (
                "7: metrics.custom[0].labels.tool: is a label that the exporter sets itself, "
                "got 'tool'"
            ),
        ),
        (
            COUNTER + 'labels = { __x = "tool" }',
            (
                "7: metrics.custom[0].labels.__x: must not begin with '__', which belongs to "
                "Prometheus, got '__x'"
            ),
        ),
        (
            COUNTER + 'labels = { a-b = "tool" }',
            (
                "7: metrics.custom[0].labels.a-b: must be letters, digits and '_', and not begin "
                "with a digit, got 'a-b'"
            ),
        ),
        (
            COUNTER + "help = 'say \"hi\"'",
            (
                "7: metrics.custom[0].help: must be one line of text, without '\\' and '\"', "
                "got 'say \"hi\"'"
            ),
        ),
        (
            COUNTER + 'tools = ["a", ""]',
            '7: metrics.custom[0].tools: must be names or patterns, like ["search_*"]',
        ),
        (
            COUNTER + 'servers = ["c*", "dogs"]',
            "7: metrics.custom[0].servers[1]: matches no server; configured: cats",
        ),
        (
            COUNTER + 'labels = { a = "tool" }\nlabel_limit = 0',
            "8: metrics.custom[0].label_limit: should be greater than 0, got 0",
        ),
        (
            COUNTER + "label_limit = 50",
            "7: metrics.custom[0].label_limit: has no use: there are no labels",
        ),
        (
            HISTOGRAM.replace("[1]", '["1"]'),
            "8: metrics.custom[0].buckets[0]: must be a number, got '1'",
        ),
        *(
            (
                GAUGE.replace('"x"', f'"{name}"'),
                f"5: metrics.custom[0].name: is a name of Prometheus' own, got '{name}'",
            )
            for name in ("up", "scrape_duration_seconds", "ALERTS", "ALERTS_FOR_STATE")
        ),
        (
            "[inspection]\nenabled = false\n" + COUNTER,
            "6: metrics.custom: has no use: inspection.enabled is false",
        ),
        (
            RULE + "[inspection]\nenabled = false",
            "4: outcomes.soft_errors: has no use: inspection.enabled is false",
        ),
        (
            COUNTER + "lables = {}",
            "7: metrics.custom[0].lables: unknown setting; did you mean `labels`?",
        ),
        (
            COUNTER + COUNTER,
            "8: metrics.custom[1].name: is the name of metrics.custom[0] as well",
        ),
        (
            COUNTER + GAUGE,
            (
                "8: metrics.custom[1].name: is too like metrics.custom[0]: OpenMetrics leaves "
                "_total out"
            ),
        ),
        (
            '[metrics.labels]\nzone = "a"\n' + COUNTER + 'labels = { zone = "tool" }',
            "9: metrics.custom[0].labels.zone: is a label of all series: metrics.labels has it",
        ),
        ("[metrics]\ncustom = 1", "5: metrics.custom: must be tables headed [[metrics.custom]]"),
        (
            "[outcomes]\nsoft_errors = 1",
            "5: outcomes.soft_errors: must be tables headed [[outcomes.soft_errors]]",
        ),
        (
            '[[outcomes.soft_errors]]\nreason = "error"',
            "4: outcomes.soft_errors[0].when: is required",
        ),
        (
            RULE + 'servers = ["dogs"]',
            "6: outcomes.soft_errors[0].servers[0]: matches no server; configured: cats",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    assert complain(tmp_path, text) == [problem]


def test_there_is_an_end_to_them(tmp_path: Path) -> None:
    tables = [COUNTER.replace("x_", f"x{n}_") for n in range(MAX_CUSTOM_METRICS + 1)]
    assert len(read(tmp_path, "".join(tables[:-1])).metrics.custom) == MAX_CUSTOM_METRICS
    assert complain(tmp_path, "".join(tables)) == [
        "304: metrics.custom[100]: is one too many: there can be 100"
    ]


def test_no_family_of_the_exporters_own_can_be_named() -> None:
    assert all(family.name.startswith(RESERVED_PREFIXES) for family in FAMILIES)


def test_patterns_are_globs_that_mind_case() -> None:
    assert matches(("a*", "b?"), "abc")
    assert matches(("a*", "b?"), "b1")
    assert not matches(("a*", "b?"), "B1")
    assert not matches(("a*", "b?"), "b")


def test_stems_are_what_openmetrics_calls_families() -> None:
    assert CustomMetricSettings(name="x_total", type="counter").stem == "x"
