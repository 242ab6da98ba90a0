"""What a response says about its call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcp_proxy_exporter.protocol import Outcome, verdict
from mcp_proxy_exporter.protocol.content import ONE_TEXT
from mcp_proxy_exporter.protocol.elements import MAX_FIRST
from mcp_proxy_exporter.protocol.events import Content
from mcp_proxy_exporter.protocol.jsonrpc import Error, Message
from mcp_proxy_exporter.protocol.verdict import MAX_AT_ONCE, judge


def result(text: str) -> Message:
    return Message("2.0", 1, result=Raw(text.encode()))


def error(code: float | None, message: str | None = None) -> Message:
    return Message("2.0", 1, error=Error(code, message))


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("{}", Outcome.SUCCESS),
        ('{"content": []}', Outcome.SUCCESS),
        ('{"isError": false}', Outcome.SUCCESS),
        ('{"isError": null}', Outcome.SUCCESS),
        ('{"isError": "true"}', Outcome.SUCCESS),
        ('{"isError": 1}', Outcome.SUCCESS),
        ('{"content": [{"isError": true}]}', Outcome.SUCCESS),
        ('{"isError": true}', Outcome.TOOL_ERROR),
        ('{"isError": true, "task": "mine"}', Outcome.TOOL_ERROR),
        ('{"resultType": "complete"}', Outcome.SUCCESS),
        ('{"resultType": null}', Outcome.SUCCESS),
        ('{"resultType": "complete", "isError": true}', Outcome.TOOL_ERROR),
        ('{"resultType": "input_required", "inputRequests": []}', Outcome.INPUT_REQUIRED),
        ('{"resultType": "task", "taskId": "t"}', Outcome.TASK_CREATED),
        ('{"resultType": "maybe"}', Outcome.INVALID_RESPONSE),
        ('{"resultType": "maybe", "task": "mine"}', Outcome.INVALID_RESPONSE),
        ('{"resultType": ""}', Outcome.INVALID_RESPONSE),
        ('{"resultType": 5}', Outcome.INVALID_RESPONSE),
        ('{"resultType": ["complete"]}', Outcome.INVALID_RESPONSE),
        ("null", Outcome.INVALID_RESPONSE),
        ("[]", Outcome.INVALID_RESPONSE),
        ('"pong"', Outcome.INVALID_RESPONSE),
        ("true", Outcome.INVALID_RESPONSE),
        ("0", Outcome.INVALID_RESPONSE),
    ],
)
def test_a_result_decides(text: str, outcome: Outcome) -> None:
    assert judge(result(text), 200, asked_for_task=False)[:3] == (outcome, len(text), None)


@pytest.mark.parametrize(
    ("text", "asked", "outcome"),
    [
        ('{"task": {"taskId": "t"}}', True, Outcome.TASK_CREATED),
        ('{"task": {"taskId": "t"}}', False, Outcome.SUCCESS),
        ('{"task": {"taskId": ""}}', True, Outcome.SUCCESS),
        ('{"task": {}}', True, Outcome.SUCCESS),
        ('{"task": null}', True, Outcome.SUCCESS),
        ('{"task": "mine"}', True, Outcome.SUCCESS),
        ('{"task": {"taskId": 5}}', True, Outcome.SUCCESS),
        ('{"task": {"taskId": "t"}, "isError": "no"}', True, Outcome.TASK_CREATED),
        ('{"task": {"taskId": "t"}, "isError": true}', True, Outcome.TOOL_ERROR),
    ],
)
def test_a_task_is_one_for_those_who_asked(text: str, outcome: Outcome, *, asked: bool) -> None:
    assert judge(result(text), 200, asked_for_task=asked)[0] is outcome


def test_an_answer_about_a_task_creates_none() -> None:
    response = result('{"resultType": "task", "taskId": "t"}')
    assert judge(response, 200, asked_for_task=False, about_task=True)[0] is Outcome.SUCCESS


@pytest.mark.parametrize(
    ("response", "outcome", "code"),
    [
        (error(-32601), Outcome.PROTOCOL_ERROR, -32601),
        (error(-32601.0), Outcome.PROTOCOL_ERROR, -32601),
        (error(-32601.5), Outcome.PROTOCOL_ERROR, None),
        (error(None), Outcome.PROTOCOL_ERROR, None),
        (error(10**30), Outcome.PROTOCOL_ERROR, 10**30),
        (error(-32042, "open this URL"), Outcome.INPUT_REQUIRED, -32042),
        (error(-32800), Outcome.CANCELLED, -32800),
        (error(0, "Request cancelled"), Outcome.CANCELLED, 0),
        (error(0, "boom"), Outcome.PROTOCOL_ERROR, 0),
        (error(0), Outcome.PROTOCOL_ERROR, 0),
        (error(1, "Request cancelled"), Outcome.PROTOCOL_ERROR, 1),
    ],
)
@pytest.mark.parametrize("status", [200, 302, 400, 404, 500])
def test_an_error_decides_on_any_status(
    response: Message, outcome: Outcome, code: int | None, status: int
) -> None:
    assert judge(response, status, asked_for_task=False) == (outcome, None, code, None)


def test_a_null_result_beside_an_error_is_no_result() -> None:
    response = Message("2.0", 1, result=Raw(b"null"), error=Error(-32601))
    assert judge(response, 200, asked_for_task=False)[0] is Outcome.PROTOCOL_ERROR


def test_a_result_beside_an_error_is_invalid() -> None:
    for text in (b"{}", b"true", b'{"isError":true}'):
        response = Message("2.0", 1, result=Raw(text), error=Error(-32601))
        expected = (Outcome.INVALID_RESPONSE, len(text), None, None)
        assert judge(response, 200, asked_for_task=False) == expected


def test_neither_result_nor_error_is_invalid() -> None:
    expected = (Outcome.INVALID_RESPONSE, None, None, None)
    assert judge(Message("2.0", 1), 200, asked_for_task=False) == expected


@pytest.mark.parametrize("response", [result("{}"), result('{"isError":true}'), Message("2.0", 1)])
def test_above_400_only_an_error_is_an_answer(response: Message) -> None:
    assert judge(response, 400, asked_for_task=False)[0] is Outcome.HTTP_ERROR


def test_bytes_that_are_no_utf8_do_not_matter_where_nobody_reads() -> None:
    assert judge(Message("2.0", 1, result=Raw(b'{"a":"\xff"}')), 200, asked_for_task=True)[0] is (
        Outcome.SUCCESS
    )
    response = Message("2.0", 1, result=Raw(b'{"resultType":"\xff"}'))
    assert judge(response, 200, asked_for_task=False)[0] is Outcome.INVALID_RESPONSE


def test_a_result_too_deep_for_a_second_look_is_not_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def overflow(_: Raw) -> None:
        raise RecursionError

    monkeypatch.setattr(verdict, "_decode_loose", overflow)
    for text in ("[]", "{}".ljust(MAX_AT_ONCE + 1)):
        assert judge(result(text), 200, asked_for_task=False)[0] is Outcome.UNINSPECTED
    monkeypatch.setattr(verdict, "_decode_result", overflow)
    assert judge(result("{}"), 200, asked_for_task=False)[0] is Outcome.UNINSPECTED


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("{}", None),
        ('{"structuredContent": {}}', Content((), structured=True)),
        ('{"structuredContent": null}', None),
        ('{"content": "text", "structuredContent": 5}', Content((), structured=True)),
        ('{"content": null}', None),
        ('{"content": "text"}', None),
        ('{"content": [5]}', Content(("",))),
        (
            '{"content": [{"type": "text", "text": "[1]"}, "odd"], "structuredContent": [1]}',
            Content(("text", ""), structured=True, duplicated=3),
        ),
        ('{"content": []}', Content(())),
        ('{"content": [{"type": "image", "data": "…"}]}', Content(("image",))),
        ('{"content": [{"type": "text", "text": 5}], "isError": true}', Content(("text",))),
        ('{"content": [{"type": 5}, {"type": "image"}]}', Content(("", "image"))),
        ('{"content": [{"type": "text"}], "isError": "no"}', Content(("text",))),
        (
            '{"content": [{"type": "text", "text": "[1]"}], "structuredContent": [1], "task": 5}',
            Content(("text",), structured=True, duplicated=3),
        ),
        ('{"content": [], "structuredContent": null}', Content(())),
        ('{"content": [{"type": "text"}], "structuredContent": null}', Content(("text",))),
    ],
)
@pytest.mark.parametrize("padding", ["", " " * MAX_AT_ONCE])
def test_what_a_result_holds_is_told(text: str, content: Content | None, padding: str) -> None:
    assert judge(result(text[:-1] + padding + "}"), 200, asked_for_task=False)[3] == content


@pytest.mark.parametrize("size", [MAX_AT_ONCE, MAX_AT_ONCE + 1])
@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ('{"isError": true}', Outcome.TOOL_ERROR),
        ('{"isError": null}', Outcome.SUCCESS),
        ('{"isError": "true"}', Outcome.SUCCESS),
        ('{"resultType": null}', Outcome.SUCCESS),
        ('{"resultType": "complete", "isError": true}', Outcome.TOOL_ERROR),
        ('{"resultType": "input_required"}', Outcome.INPUT_REQUIRED),
        ('{"resultType": 5}', Outcome.INVALID_RESPONSE),
        ('{"task": {"taskId": "t"}}', Outcome.TASK_CREATED),
        ('{"task": {"taskId": 5}}', Outcome.SUCCESS),
        ("[]", Outcome.INVALID_RESPONSE),
    ],
)
def test_the_size_of_a_result_does_not_decide(text: str, outcome: Outcome, size: int) -> None:
    padded = text[:-1].ljust(size - 1) + text[-1]
    assert judge(result(padded), 200, asked_for_task=True)[:2] == (outcome, size)


def test_blocks_beyond_all_bounds_are_told_as_far_as_they_are_read() -> None:
    few = result('{"content": [%s{"type": "text"}]}' % ('{"type": "image"},' * 9_999))
    content = judge(few, 200, asked_for_task=False)[3]
    assert content == Content((*["image"] * 9_999, "text"))
    many = result('{"content": [%s{}]}' % ("{}," * 1_000_000))
    assert judge(many, 200, asked_for_task=False)[3] == Content(("",) * MAX_FIRST)


def test_most_results_hold_the_same() -> None:
    response = result('{"content": [{"type": "text", "text": "Meow."}]}')
    assert judge(response, 200, asked_for_task=False)[3] is ONE_TEXT


def test_an_answer_that_is_no_result_holds_nothing() -> None:
    text = '{"content": [{"type": "text"}]}'
    assert judge(result(text), 500, asked_for_task=False)[3] is None
    beside = Message("2.0", 1, result=Raw(text.encode()), error=Error(-32601))
    assert judge(beside, 200, asked_for_task=False)[3] is None


@given(st.binary(max_size=60), st.integers(100, 599), st.booleans())
def test_any_result_can_be_judged(text: bytes, status: int, asked: bool) -> None:  # noqa: FBT001
    outcome, _, _, _ = judge(Message("2.0", 1, result=Raw(text)), status, asked_for_task=asked)
    assert isinstance(outcome, Outcome)
