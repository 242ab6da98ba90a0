"""The queries of the document: PromQL, about families and labels that there are."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mcp_proxy_exporter.observe.catalogue import FAMILIES
from mcp_proxy_exporter.observe.document import describe
from mcp_proxy_exporter.observe.family import Kind
from mcp_proxy_exporter.observe.queries import ANSWERS, Answer, describe_answers
from mcp_proxy_exporter.protocol.outcome import Outcome

BY_NAME = {family.name: family for family in FAMILIES}
BY_SERIES = BY_NAME | {
    f"{family.name}{suffix}": family
    for family in FAMILIES
    if family.kind in {Kind.HISTOGRAM, Kind.SUMMARY}
    for suffix in ("_bucket", "_count", "_sum")
}
README = Path(__file__).parents[2] / "README.md"

each_answer = pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.question)


def find_queries(answer: Answer) -> list[str]:
    """Return the query, and those in the remark."""
    return [answer.query, *re.findall(r"`([^`]*)`", answer.remark)]


@each_answer
def test_queries_ask_for_families_and_labels_that_there_are(answer: Answer) -> None:
    for query in find_queries(answer):
        names = re.findall(r"mcp_\w+", query)
        assert names
        assert set(names) <= BY_SERIES.keys()
        labels = {label for name in names for label in BY_SERIES[name].labels}
        for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
            assert set(listed.split(", ")) <= labels | {"instance"}
        for pattern in re.findall(r'outcome=~"([^"]*)"', query):
            for part in pattern.split("|"):
                assert any(re.fullmatch(part, outcome) for outcome in Outcome), part


def test_the_outcomes_that_count_as_failures_are_those_of_the_readme() -> None:
    [here] = {*re.findall(r'outcome=~"([^"]*)"', describe_answers())}
    assert f'outcome=~"{here}"' in README.read_text(encoding="utf-8")


def test_the_document_has_them_all() -> None:
    written = describe()
    assert all(f"```promql\n{answer.query}\n```" in written for answer in ANSWERS)


def test_promtool_can_read_them(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is not on PATH, and CI must check the queries with it")
        pytest.skip("promtool is not on PATH")
    queries = [query for answer in ANSWERS for query in find_queries(answer)]
    rules = [{"record": f"q{n}", "expr": query} for n, query in enumerate(queries)]
    file = tmp_path / "rules.yml"
    # JSON is YAML.
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", file],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
