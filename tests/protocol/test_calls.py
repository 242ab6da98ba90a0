"""A call that is open: who sends it, what decides how its end is read, and the time it waits."""

from typing import Any

import pytest

from mcp_proxy_exporter.protocol import CallClosed, Client, Outcome
from mcp_proxy_exporter.protocol.calls import OpenCall, Questions, open_call
from mcp_proxy_exporter.protocol.catalog import place_of
from mcp_proxy_exporter.protocol.ids import MAX_METHOD, MAX_TEXT
from mcp_proxy_exporter.protocol.params import ClientInfo, Meta, Params, TaskParams

KNOWN = Client("known", "2025-11-25")
LONG = "x" * 10_000


def begin(method: str = "tools/call", **members: Any) -> OpenCall:
    return open_call(method, Params(**members), KNOWN, None, 1.0)


def test_questions_are_waited_for_while_one_is_open() -> None:
    questions = Questions()
    assert questions.total(5.0) == 0.0
    questions.ask(1.0)
    assert questions.total(3.0) == 2.0
    questions.ask(2.0)
    questions.end(4.0)
    assert questions.total(5.0) == 4.0
    questions.end(6.0)
    assert questions.total(9.0) == 5.0
    questions.ask(10.0)
    assert questions.total(11.0) == 6.0


@pytest.mark.parametrize(
    ("method", "name"),
    [("tools/call", "nap"), ("prompts/get", "nap"), ("resources/read", None), ("tasks/get", None)],
)
def test_only_tools_and_prompts_have_a_name(method: str, name: str | None) -> None:
    assert begin(method, name="nap").call.name == name


def test_a_call_is_its_senders_unless_it_says_otherwise() -> None:
    assert begin().call.client is KNOWN
    assert begin(meta=Meta()).call.client is KNOWN
    assert begin(meta=Meta(None, ClientInfo("cat"))).call.client is KNOWN
    assert open_call("ping", None, KNOWN, None, 1.0).call.client is KNOWN
    declared = Client("cat", "2026-07-28")
    for method in ("tools/call", "tools/list", "x"):
        assert begin(method, meta=Meta("2026-07-28", ClientInfo("cat"))).call.client == declared
    assert begin(meta=Meta("2026-07-28")).call.client == Client(None, "2026-07-28")
    assert begin(meta=Meta("2026-07-28", ClientInfo())).call.client == Client(None, "2026-07-28")


def test_initialize_says_who_is_there() -> None:
    called = begin("initialize", client_info=ClientInfo("cat"), protocol_version="2025-06-18")
    assert called.call.client == Client("cat", "2025-06-18")
    assert begin("initialize").call.client == Client()
    assert begin("ping", client_info=ClientInfo("cat")).call.client is KNOWN


@pytest.mark.parametrize(
    ("version", "modern"), [("2026-07-28", True), ("2027-01-01", True), ("2025-11-25", False)]
)
@pytest.mark.parametrize("method", ["tools/call", "tools/list"])
def test_the_era_is_that_of_the_request(method: str, version: str, *, modern: bool) -> None:
    assert begin(method, meta=Meta(version)).modern is modern


def test_a_task_is_asked_for_by_a_param() -> None:
    assert begin(task=TaskParams()).asked_for_task
    assert not begin().asked_for_task


@pytest.mark.parametrize(
    ("method", "instructive"),
    [
        ("initialize", True),
        ("server/discover", True),
        ("tools/list", True),
        ("tasks/get", True),
        ("tasks/list", True),
        ("tasks/cancel", True),
        ("tasks/result", True),
        ("tools/call", False),
        ("ping", False),
    ],
)
def test_some_answers_tell_more_than_how_they_ended(method: str, *, instructive: bool) -> None:
    assert begin(method).instructive is instructive
    assert open_call(method, None, KNOWN, None, 1.0).instructive is instructive


def test_a_listing_has_a_place_and_a_task_an_id() -> None:
    assert begin("tools/list", cursor="c").place == place_of("c")
    assert begin("tools/list").place is None
    assert begin("tasks/list", cursor="c").place is None
    assert begin("tasks/get", task_id="t").task_id == "t"
    assert begin("tasks/get").task_id is None


def test_what_an_open_call_holds_is_bounded() -> None:
    cut = LONG[:MAX_TEXT]
    assert open_call(LONG, None, KNOWN, None, 1.0).call.method == LONG[:MAX_METHOD]
    assert begin(LONG).call.method == LONG[:MAX_METHOD]
    assert begin(name=LONG).call.name == cut
    assert begin("tasks/get", task_id=LONG).task_id == cut
    assert begin(meta=Meta(LONG, ClientInfo(LONG))).call.client == Client(cut, cut)


def test_a_call_that_nothing_answers_says_how_long_it_waited() -> None:
    opened = begin()
    call = opened.call
    assert opened.close(Outcome.CANCELLED, 5.0) == CallClosed(call, Outcome.CANCELLED, 5.0)
    opened.questions = Questions()
    opened.questions.ask(2.0)
    closed = opened.close(Outcome.ABANDONED, 5.0, 3.0)
    assert closed == CallClosed(call, Outcome.ABANDONED, 5.0, 3.0, waited=3.0)
