"""Every promise of docs/server-behavior.md has a test, and every test named for one is there."""

import ast
import re
from pathlib import Path

import pytest

from mcp_proxy_exporter import logs
from mcp_proxy_exporter.config import TimeoutSettings
from mcp_proxy_exporter.proxy import context, exchange, tls
from tests.requirements import PROMISES

TESTS = Path(__file__).parent
DOCUMENTS = TESTS.parent / "docs"
FIGURES = {
    "T3": ("(%g s, %g MiB)", exchange._LATE_SECONDS, exchange._MAX_UNREAD / 2**20),
    "T8": ("`client_write` (%g s)", TimeoutSettings().client_write),
    "C1": ("with %d of those waiting", context.MAX_REFUSED),
    "C5": ("`upstream_idle` (%g s)", TimeoutSettings().upstream_idle),
    "S3": ("has %g s", tls.HANDSHAKE_SECONDS),
    "X3": ("at most %s names", {10: "ten"}[logs._MAX_NAMES]),
}
"""What the document says in figures, and where the product has them."""
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def list_promised() -> list[str]:
    return re.findall(
        r"(?m)^- \*\*([A-Z]\d+)\*\* \S", (DOCUMENTS / "server-behavior.md").read_text()
    )


def read_marks(body: list[ast.stmt]) -> str:
    """Return the marks that hold for a whole file."""
    return " ".join(
        ast.unparse(one.value)
        for one in body
        if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "pytestmark"
    )


def test_every_promise_has_tests_and_every_id_a_promise() -> None:
    promised = list_promised()
    assert promised == list(PROMISES)
    assert len(set(promised)) == len(promised) > 40


@pytest.mark.parametrize("promise", FIGURES)
def test_a_figure_of_a_promise_is_the_products(promise: str) -> None:
    said, *figures = FIGURES[promise]
    rest = (DOCUMENTS / "server-behavior.md").read_text().partition(f"- **{promise}** ")[2]
    text = " ".join(rest.partition("\n- **")[0].split())
    assert str(said) % tuple(figures) in text


def test_the_threat_model_leads_to_promises_that_are_there() -> None:
    rows = re.findall(r"(?m)^\| \d+ \|.*$", (DOCUMENTS / "threat-model.md").read_text())
    named = [re.findall(r"\b[A-Z]\d+\b", row) for row in rows]
    assert len(rows) > 25
    assert {one for row in named for one in row} <= PROMISES.keys()
    # The last row is about what we are built of, which is no promise about traffic.
    assert all(named[:-1])


@pytest.mark.parametrize("promise", PROMISES)
def test_the_tests_of_a_promise_exist_and_run(promise: str) -> None:
    tests = PROMISES[promise]
    assert len(set(tests)) == len(tests) > 0
    quick = 0
    for test in tests:
        file, _, name = test.partition("::")
        body = ast.parse((TESTS / file).read_text()).body
        found = [one for one in body if isinstance(one, _DEFINITIONS) and one.name == name]
        assert len(found) == 1, test
        marks = " ".join(map(ast.unparse, found[0].decorator_list))
        assert not re.search(r"\b(skip|xfail)\b", marks), test
        quick += "mark.slow" not in marks + read_marks(body)
    # A promise that is broken shows in `make test` already.
    assert quick, promise
