import runpy
from pathlib import Path

import pytest

from mcp_proxy_exporter.observe.catalogue import FAMILIES, SECTIONS
from mcp_proxy_exporter.observe.document import OUTCOMES, describe, limit
from mcp_proxy_exporter.observe.family import DIMENSIONS
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


def test_the_formula_is_the_sum_of_all_bounds() -> None:
    sizes = {"S": 3, "T": 7}
    lines = sum(family.limit(sizes) * family.lines for family in FAMILIES)
    assert limit(servers=3, tools=7) == lines
    process = limit(servers=0, tools=0)
    server = limit(servers=1, tools=0) - process
    tool = limit(servers=1, tools=1) - server - process
    assert lines == process + 3 * (server + tool * 7)
    assert f"`{process} + S x ({server} + {tool} x T)`" in describe()


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_the_module_writes_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("mcp_proxy_exporter.observe.document", run_name="__main__")
    assert capsys.readouterr().out == describe()
