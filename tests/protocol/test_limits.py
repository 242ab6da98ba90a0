"""Limits and the account that exchanges share."""

from mcp_proxy_exporter.protocol.limits import Budget, Limits


def test_a_budget_gives_up_to_its_limit() -> None:
    budget = Budget(10)
    assert budget.take(4)
    assert budget.take(6)
    assert not budget.take(1)
    assert budget.used == 10


def test_what_is_given_back_can_be_taken_again() -> None:
    budget = Budget(10)
    assert budget.take(10)
    budget.give(3)
    assert budget.take(3)


def test_a_refused_amount_reserves_nothing() -> None:
    budget = Budget(10)
    assert not budget.take(11)
    assert budget.used == 0


def test_all_buffers_together_hold_several_of_the_largest_messages() -> None:
    limits = Limits()
    assert limits.max_buffered_bytes >= 4 * limits.max_message_bytes
