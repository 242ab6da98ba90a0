import re
import runpy
from pathlib import Path

import pytest

from mcp_proxy_exporter.observe.bounds import limit
from mcp_proxy_exporter.observe.catalogue import FAMILIES, SECTIONS
from mcp_proxy_exporter.observe.document import (
    DELIVERIES,
    OUTCOMES,
    SESSION_ENDS,
    STREAM_KINDS,
    TASK_OUTCOMES,
    describe,
)
from mcp_proxy_exporter.observe.family import DIMENSIONS
from mcp_proxy_exporter.protocol.events import Delivery, SessionEnd, StreamKind, TaskOutcome
from mcp_proxy_exporter.protocol.outcome import Outcome

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_document_is_what_the_table_says() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == describe(), (
        "write it again: python -m mcp_proxy_exporter.observe.document > docs/metrics.md"
    )


def test_every_family_has_one_row_in_its_section() -> None:
    written = describe()
    for title, families in SECTIONS.items():
        section = written.split(f"## {title}\n")[1].split("\n## ")[0]
        rows = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert rows == [family.name for family in families]


def test_every_outcome_and_every_factor_of_a_bound_is_explained() -> None:
    assert list(OUTCOMES) == list(Outcome)
    written = describe()
    assert all(f"| {symbol} | " in written for symbol in DIMENSIONS)


def test_every_word_of_the_program_is_explained() -> None:
    assert list(TASK_OUTCOMES) == list(TaskOutcome)
    assert list(SESSION_ENDS) == list(SessionEnd)
    assert list(STREAM_KINDS) == list(StreamKind)
    assert list(DELIVERIES) == list(Delivery)
    written = describe()
    for words in (TaskOutcome, SessionEnd, StreamKind, Delivery):
        assert all(f"`{word}` (" in written for word in words)


def test_the_formula_is_the_sum_of_all_bounds() -> None:
    sizes = {"S": 3, "T": 7, "K": 5}
    standard = [family for family in FAMILIES if not family.optional]
    lines = sum(family.limit(sizes) * family.lines for family in standard)
    assert limit(servers=3, tools=7, clients=5) == lines
    process = limit(servers=0, tools=0, clients=0)
    server = limit(servers=1, tools=0, clients=0) - process
    tool = limit(servers=1, tools=1, clients=0) - server - process
    client = limit(servers=1, tools=0, clients=1) - server - process
    assert lines == process + 3 * (server + tool * 7 + client * 5)
    assert f"`{process} + S x ({server} + {tool} x T + {client} x K)`" in describe()


def test_the_formula_of_what_is_off_by_default_is_the_sum_of_the_rest() -> None:
    sizes = {"S": 3, "T": 7, "K": 5, "Q": 2}
    every = limit(servers=3, tools=7, clients=5, prompts=2)
    assert every == sum(family.limit(sizes) * family.lines for family in FAMILIES)
    found = re.search(r"`S x \((\d+) \+ (\d+) x \(T \+ Q\)\)`", describe())
    assert found is not None
    server, name = map(int, found.groups())
    assert every == limit(servers=3, tools=7, clients=5) + 3 * (server + name * (7 + 2))


def test_a_tools_own_lines_are_those_of_its_calls_and_of_its_tasks() -> None:
    sentence = r"has at most (\d+) \+ (\d+) x `n` lines, and (\d+) more if\s+tasks"
    found = re.search(sentence, describe())
    assert found is not None
    fixed, per_outcome, tasks = map(int, found.groups())
    tool = limit(servers=1, tools=1, clients=0) - limit(servers=1, tools=0, clients=0)
    assert fixed + per_outcome * len(Outcome) + tasks == tool
    [duration] = (family for family in FAMILIES if family.name == "mcp_task_duration_seconds")
    assert tasks == len(TaskOutcome) + duration.lines


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_the_module_writes_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("mcp_proxy_exporter.observe.document", run_name="__main__")
    assert capsys.readouterr().out == describe()
