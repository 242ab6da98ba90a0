"""What scopes remember of what is over, and how much all of them together."""

import pytest

from mcp_proxy_exporter.observe.words import REQUEST_METHODS
from mcp_proxy_exporter.protocol import remembered
from mcp_proxy_exporter.protocol.calls import OpenCall, Questions
from mcp_proxy_exporter.protocol.events import Call, Client
from mcp_proxy_exporter.protocol.ids import IdKey, id_key, shorten
from mcp_proxy_exporter.protocol.remembered import MAX_REMEMBERED, METHODS, Ledger, Remembered

CALL = "tools/call"


def make_call() -> OpenCall:
    return OpenCall(Call(CALL, None, 0.0, Client(), None))


def test_every_method_that_is_told_apart_is_remembered() -> None:
    assert METHODS == REQUEST_METHODS


def test_methods_that_are_invented_are_remembered_as_one() -> None:
    memory = Remembered(Ledger())
    memory.add_ended(1, "x" * 64, 0.0)
    memory.add_ended(2, CALL, 0.0)
    assert (memory.take_ended(1), memory.take_ended(2), memory.take_ended(1)) == ("", CALL, None)


@pytest.mark.parametrize(
    "key",
    [0, -1, 2**63 - 1, -(2**63), 2**63, 10**400, "", "0", "a" * 500, None, 0.0, False, 1e300],
)
def test_every_id_is_a_number_of_64_bits(key: str | float | None) -> None:
    short = shorten(id_key(key))
    assert -(2**63) <= short < 2**63
    assert shorten(id_key(key)) == short


def test_ids_are_told_apart() -> None:
    keys: list[IdKey] = [id_key(key) for key in (0, 1, "0", "1", None, 0.0, 1.0, False, True)]
    keys += [-1, -2, 2**61 - 1, 2**61, 2**64, 2**64 + 2**61 - 1]
    assert len({shorten(key) for key in keys}) >= len(keys) - 1  # the last two may be one


def test_javascripts_numbers_are_found() -> None:
    memory = Remembered(Ledger())
    memory.add_ended(1, CALL, 0.0)
    assert memory.take_ended(id_key(1.0)) == CALL
    memory.add_ended(id_key(2.0), CALL, 0.0)
    assert memory.take_ended(2) == CALL


def test_the_account_is_of_what_is_remembered() -> None:
    ledger = Ledger()
    first, second = Remembered(ledger), Remembered(ledger)
    for number in range(MAX_REMEMBERED + 10):
        for memory in (first, second):
            memory.add_ended(number, CALL, 0.0)
            memory.ask(number, "roots/list", 0.0, None)
    assert ledger.used == 2 * (2 * MAX_REMEMBERED + 10)
    for number in range(MAX_REMEMBERED + 10):
        first.withdraw(number, 0.0)
        first.add_ended(number, CALL, 0.0)
    assert ledger.used == 4 * MAX_REMEMBERED + 10
    first.ask(50, "roots/list", 0.0, None)
    first.withdraw(50, 0.0)  # once more
    first.forget_ended(MAX_REMEMBERED)
    first.forget_ended(MAX_REMEMBERED)
    assert first.take_ended(MAX_REMEMBERED + 1) == CALL
    assert ledger.used == 4 * MAX_REMEMBERED + 8
    first.forget_all()
    assert ledger.used == 2 * MAX_REMEMBERED + 10
    second.forget_all()
    assert (ledger.used, ledger._owners) == (0, {})


def test_whoever_added_nothing_for_longest_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MAX_TOGETHER", 4)
    ledger = Ledger()
    first, second, third = (Remembered(ledger) for _ in range(3))
    opened = make_call()
    first.ask(1, "roots/list", 1.0, opened)
    first.ask(2, "roots/list", 1.0, None)
    second.add_ended(1, CALL, 2.0)
    first.add_ended(1, CALL, 3.0)
    third.add_ended(1, CALL, 4.0)
    assert [memory.take_ended(1) for memory in (first, second, third)] == [CALL, None, CALL]
    third.add_ended(1, CALL, 5.0)
    third.add_ended(2, CALL, 6.0)
    third.add_ended(3, CALL, 7.0)
    assert not first.knows_question(1)
    assert isinstance(opened.questions, Questions)
    assert opened.questions.total(100.0) == 6.0  # it is taken for answered where it was forgotten
    assert (ledger.used, [*ledger._owners]) == (3, [third])
