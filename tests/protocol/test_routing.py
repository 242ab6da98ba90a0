"""Headers that repeat the body, and the era of a request."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_proxy_exporter.protocol.jsonrpc import Message
from mcp_proxy_exporter.protocol.params import Params
from mcp_proxy_exporter.protocol.routing import contradicts, is_modern, is_modern_field


@pytest.mark.parametrize(
    ("version", "modern"),
    [
        (None, False),
        ("2024-11-05", False),
        ("2025-11-25", False),
        ("2026-07-27", False),
        ("2026-07-28", True),
        ("2027-01-01", True),
        ("DRAFT-2026", False),
        ("draft", False),
        ("", False),
        ("1999-01-01", False),
    ],
)
def test_the_era_follows_from_the_version(version: str | None, *, modern: bool) -> None:
    assert is_modern(version) is modern
    assert is_modern_field(None if version is None else version.encode()) is modern


def call(
    method: str | None,
    *,
    name: str | None = None,
    uri: str | None = None,
    task_id: str | None = None,
) -> Message:
    return Message("2.0", 1, method, Params(name=name, uri=uri, task_id=task_id))


def encoded(value: str) -> bytes:
    return b"=?base64?" + b64encode(value.encode()) + b"?="


@pytest.mark.parametrize(
    ("message", "method", "name"),
    [
        (call("tools/call", name="a"), None, None),
        (call("tools/call", name="a"), b"tools/call", None),
        (call("tools/call", name="a"), b"tools/call", b"a"),
        (call("tools/call", name="a"), None, encoded("a")),
        (call("tools/call", name="é 猫"), None, encoded("é 猫")),
        (call("tools/call", name=""), None, b""),
        (call("tools/call", name="=?base64?"), None, b"=?base64?"),
        (call("tools/call", name="=?base64?%%?="), None, b"=?base64?%%?="),
        (call("prompts/get", name="a"), None, b"a"),
        (call("resources/read", uri="cat://1"), b"resources/read", b"cat://1"),
        (call("tasks/get", task_id="t"), b"tasks/get", b"t"),
        (call("tasks/cancel", task_id="t"), None, b"t"),
        (call("tools/list"), b"tools/list", b"whatever"),
        (call("notifications/cancelled"), b"notifications/cancelled", None),
        (call(None), b"tools/call", b"a"),
    ],
)
def test_headers_that_say_what_the_body_says_are_fine(
    message: Message, method: bytes | None, name: bytes | None
) -> None:
    assert not contradicts(message, method, name)


@pytest.mark.parametrize(
    ("message", "method", "name"),
    [
        (call("tools/call", name="a"), b"tools/list", None),
        (call("tools/call", name="a"), b"Tools/Call", b"a"),
        (call("tools/call", name="a"), b"tools/call, tools/call", b"a"),
        (call("tools/call", name="a"), b"tools/call", b"b"),
        (call("tools/call", name="a"), b"", None),
        (call("tools/call", name="a"), None, encoded("b")),
        (call("tools/call", uri="a"), None, b"a"),
        (call("tools/call"), None, b"a"),
        (Message("2.0", 1, "tools/call"), None, b"a"),
        (call("resources/read", name="a", uri="b"), None, b"a"),
        (call("tasks/get", name="a"), None, b"a"),
        (call("tools/call", name="\xff"), None, b"\xff"),
    ],
)
def test_headers_that_say_other_than_the_body_contradict(
    message: Message, method: bytes | None, name: bytes | None
) -> None:
    assert contradicts(message, method, name)


@given(st.binary(), st.binary(), st.text().filter(str.isascii))
def test_any_header_can_be_compared(method: bytes, name: bytes, tool: str) -> None:
    contradicts(call("tools/call", name=tool), method, name)
    assert not contradicts(call("tools/call", name=tool), None, encoded(tool))
