"""Every promise of docs/server-behavior.md has a test, and every test named for one is there."""

import ast
import re
from pathlib import Path

import pytest

from tests.requirements import PROMISES

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "server-behavior.md"
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def list_promised() -> list[str]:
    return re.findall(r"(?m)^- \*\*([A-Z]\d+)\*\* \S", DOCUMENT.read_text())


def test_every_promise_has_tests_and_every_id_a_promise() -> None:
    promised = list_promised()
    assert promised == list(PROMISES)
    assert len(set(promised)) == len(promised) > 40


@pytest.mark.parametrize("promise", PROMISES)
def test_the_tests_of_a_promise_exist_and_run(promise: str) -> None:
    tests = PROMISES[promise]
    assert tests
    for test in tests:
        file, _, name = test.partition("::")
        body = ast.parse((TESTS / file).read_text()).body
        found = [one for one in body if isinstance(one, _DEFINITIONS) and one.name == name]
        assert len(found) == 1, test
        marks = " ".join(map(ast.unparse, found[0].decorator_list))
        assert not re.search(r"\b(skip|xfail)\b", marks), test
