import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_proxy_exporter.observe.labels import EMPTY, ClientNames, ToolNames, clean, escape, render
from tests.observe.figures import HOSTILE_NAMES


def make_names(*, called: int = 2, listed: int = 2) -> ToolNames:
    return ToolNames(max_called=called, max_listed=listed, max_length=8)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("sharpen_claw", "sharpen_claw"),
        ("猫 😼", "猫 😼"),
        ("a\x00b\nc", "a�b�c"),
        ("\ud800", "�"),
        ("\u202egnp", "�gnp"),
        ("a\u200bb", "a�b"),
        ("", EMPTY),
        ("x" * 20, "x" * 20),
        ("x" * 21, "x" * 19 + "…"),
        ("x" * 19 + "\n\n", "x" * 19 + "…"),
    ],
)
def test_text_is_shown_without_what_deceives_or_breaks(raw: str, shown: str) -> None:
    assert clean(raw, 20) == shown


@given(st.text(st.characters()) | st.sampled_from(HOSTILE_NAMES))
def test_cleaned_text_is_short_printable_encodable_and_stays_as_it_is(raw: str) -> None:
    text = clean(raw, 128)
    assert 0 < len(text) <= 128
    assert text.isprintable()
    assert text.encode().decode() == text
    assert clean(text, 128) == text


def test_quotes_backslashes_and_newlines_are_escaped() -> None:
    assert escape('a"b\\c\nd') == r"a\"b\\c\nd"


def test_labels_are_rendered_in_order() -> None:
    assert render(("server", "tool"), ("cats", 'a"')) == '{server="cats",tool="a\\""}'
    assert render((), ()) == ""


def test_labels_without_a_value_each_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        render(("server", "tool"), ("cats",))


def test_a_listed_name_is_admitted_once_and_for_ever() -> None:
    names = make_names()
    assert [names.admit_listed("a"), names.admit_listed("a")] == ["a", "a"]
    names.complete()
    assert names.admit_listed("a") == "a"
    assert len(names) == 1


def test_lists_end_at_their_own_cap() -> None:
    names = make_names(called=5, listed=2)
    assert [names.admit_listed(name) for name in "abc"] == ["a", "b", None]
    assert len(names) == 2


def test_success_admits_up_to_its_cap_until_a_list_is_complete() -> None:
    names = make_names(called=2)
    assert [names.admit_called(name) for name in "abc"] == ["a", "b", None]
    names = make_names()
    names.complete()
    assert names.admit_called("a") is None


def test_callers_cannot_use_up_the_places_of_listed_names() -> None:
    names = make_names(called=1, listed=1)
    assert names.admit_called("invented") == "invented"
    assert names.admit_listed("real") == "real"


def test_a_name_that_is_listed_later_gives_its_place_back() -> None:
    names = make_names(called=1, listed=2)
    assert names.admit_called("a") == "a"
    assert names.admit_listed("a") == "a"
    assert names.admit_called("b") == "b"
    assert len(names) == 2


def test_a_name_admitted_by_success_keeps_its_label_beyond_the_cap_of_lists() -> None:
    names = make_names(called=1, listed=1)
    names.admit_called("a")
    names.admit_listed("b")
    assert names.admit_listed("a") == "a"


def test_the_limit_counts_success_only_while_success_admits() -> None:
    names = make_names(called=3, listed=4)
    assert names.limit == 7
    names.admit_called("a")
    names.complete()
    assert names.limit == 5


def test_nothing_is_unknown_before_a_complete_list() -> None:
    names = make_names()
    names.admit_listed("a")
    assert not names.is_unknown("b")
    names.complete()
    assert names.is_unknown("b")
    assert not names.is_unknown("a")


def test_nothing_is_unknown_once_lists_went_beyond_the_cap() -> None:
    names = make_names(listed=1)
    names.admit_listed("a")
    names.admit_listed("b")
    names.complete()
    assert not names.is_unknown("b")
    assert not names.is_unknown("c")


def test_nothing_is_unknown_once_the_server_listed_more_than_is_remembered() -> None:
    names = make_names()
    names.admit_listed("a")
    names.complete()
    assert names.is_unknown("b")
    names.cut()
    assert not names.is_unknown("b")
    names.complete()
    assert not names.is_unknown("b")


def test_after_a_change_nothing_is_unknown_until_the_next_complete_list() -> None:
    names = make_names()
    names.complete()
    names.reopen()
    assert not names.is_unknown("a")
    names.complete()
    assert names.is_unknown("a")


def test_after_a_change_success_admits_again_within_the_cap_of_all_such_names() -> None:
    names = make_names(called=2)
    names.admit_called("a")
    names.complete()
    assert names.admit_called("b") is None
    names.reopen()
    assert [names.admit_called(name) for name in "bc"] == ["b", None]
    assert (len(names), names.limit) == (2, 4)
    names.complete()
    names.reopen()
    assert names.admit_called("d") is None


def test_the_first_clients_are_admitted_for_ever() -> None:
    names = ClientNames(max_names=2, max_length=8)
    assert [names.admit(name) for name in ("a", "b", "c", "a")] == ["a", "b", None, "a"]
    assert (len(names), names.limit) == (2, 2)


def test_clients_that_read_the_same_take_one_place() -> None:
    names = ClientNames(max_names=1, max_length=8)
    assert names.admit("x" * 9) == names.admit("x" * 10) == "xxxxxxx…"
    assert names.admit("") is None


def test_a_long_name_is_known_by_what_is_shown_of_it() -> None:
    names = make_names()
    assert names.admit_listed("x" * (1 << 20)) == "xxxxxxx…"
    names.complete()
    assert not names.is_unknown("x" * 9)
