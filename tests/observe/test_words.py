import re

from mcp_proxy_exporter.observe import words
from mcp_proxy_exporter.protocol.events import LOST
from mcp_proxy_exporter.protocol.inputs import INPUT_METHODS


def test_every_notification_is_named_as_one_and_no_request_is() -> None:
    assert all(name.startswith("notifications/") for name in words.NOTIFICATION_METHODS)
    assert not any(name.startswith("notifications/") for name in words.REQUEST_METHODS)


def test_special_methods_are_on_the_lists() -> None:
    assert words.TOOL_CALL in words.REQUEST_METHODS
    assert words.LONG_LIVED_METHODS <= words.REQUEST_METHODS
    assert INPUT_METHODS <= words.REQUEST_METHODS
    assert words.LOG_NOTIFICATION in words.NOTIFICATION_METHODS


def test_the_methods_that_each_revision_brought_are_known() -> None:
    assert {"initialize", "ping", "sampling/createMessage"} <= words.REQUEST_METHODS  # 2024-11-05
    assert {"elicitation/create"} <= words.REQUEST_METHODS  # 2025-06-18
    assert {"tasks/get", "tasks/result"} <= words.REQUEST_METHODS  # 2025-11-25
    assert {"server/discover", "tasks/update"} <= words.REQUEST_METHODS  # 2026-07-28


def test_revisions_are_the_five_published_ones() -> None:
    assert {
        *("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
    } == words.PROTOCOL_VERSIONS


def test_every_way_in_which_a_text_gets_lost_is_a_reason_to_skip() -> None:
    assert set(LOST) <= words.SKIP_REASONS.keys()


def test_codes_are_written_as_they_are() -> None:
    assert words.JSONRPC_CODES[-32602] == "-32602"
    assert words.JSONRPC_CODES[0] == "0"
    assert 1 not in words.JSONRPC_CODES


def test_statuses_are_three_digits_or_none() -> None:
    assert words.HTTP_STATUSES[0] == "0"
    assert words.HTTP_STATUSES[599] == "599"
    assert {99, 600, -1}.isdisjoint(words.HTTP_STATUSES)


def test_no_word_is_mistaken_for_the_rest() -> None:
    lists = (
        *(words.REQUEST_METHODS, words.NOTIFICATION_METHODS, words.LOG_LEVELS),
        *(words.HTTP_METHODS, words.UNINSPECTED_REASONS, words.UPSTREAM_FAILURES),
    )
    for listed in lists:
        assert words.OTHER not in listed
        assert all(re.fullmatch(r"[A-Za-z_/]+", word) for word in listed)
