"""The members of ``params``, as specified and as sent."""

import json
from typing import Any

import pytest
from msgspec import UNSET, Raw

from mcp_proxy_exporter.protocol.jsonrpc import Message, decode
from mcp_proxy_exporter.protocol.params import (
    ClientInfo,
    Meta,
    Params,
    TaskParams,
    read_params,
    read_text,
)

META = "io.modelcontextprotocol/"
MEMBERS: dict[str, Any] = {
    "name": "sharpen_claw",
    "uri": "cat://1",
    "cursor": "c",
    "level": "info",
    "taskId": "t",
    "task": {"ttl": 1},
    "_meta": {
        META + "protocolVersion": "2026-07-28",
        META + "clientInfo": {"name": "cat", "version": "9"},
        "progressToken": 1,
    },
    "requestId": "r",
    "requestState": "secret",
    "protocolVersion": "2025-11-25",
    "clientInfo": {"name": "dog"},
    "status": "completed",
    "result": {"content": []},
}
EXPECTED = {
    "name": "sharpen_claw",
    "uri": "cat://1",
    "cursor": "c",
    "level": "info",
    "task_id": "t",
    "task": TaskParams(),
    "meta": Meta("2026-07-28", ClientInfo("cat")),
    "request_id": "r",
    "request_state": "secret",
    "protocol_version": "2025-11-25",
    "client_info": ClientInfo("dog"),
    "status": "completed",
    "result": Raw(b'{"content": []}'),
}
ATTRIBUTES = dict(zip(MEMBERS, EXPECTED, strict=True))
ABSENT = Params()
TEXTS = [name for name, value in MEMBERS.items() if isinstance(value, str) and name != "requestId"]
ODD: list[Any] = [5, True, 1.5, [], ["a"], {}, {"a": 1}]


def read(members: Any) -> Params | None:
    """Read the params of a message, whichever way they have to be read."""
    text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "x", "params": members})
    decoded = decode(text.encode())
    assert isinstance(decoded, Message)
    return decoded.params


def members_of(params: Params | None) -> dict[str, Any]:
    assert params is not None
    return {name: getattr(params, name) for name in EXPECTED}


def test_all_members_are_read() -> None:
    assert members_of(read(MEMBERS)) == EXPECTED
    assert members_of(read_params(Raw(json.dumps(MEMBERS).encode()))) == EXPECTED


def test_what_is_absent_is_nothing() -> None:
    assert members_of(read({})) == members_of(ABSENT)
    assert members_of(read_params(Raw(b"{}"))) == members_of(ABSENT)
    assert ABSENT.request_id is UNSET


@pytest.mark.parametrize("params", [[], [1], "text", 5, True, None])
def test_params_that_are_no_object_are_none(params: Any) -> None:
    assert read(params) is None


def test_no_params_are_none() -> None:
    assert read_params(Raw(b"")) is None


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", TEXTS)
def test_a_member_of_an_odd_type_costs_nothing_but_itself(name: str, odd: Any) -> None:
    attribute = ATTRIBUTES[name]
    assert members_of(read({**MEMBERS, name: odd})) == {**EXPECTED, attribute: None}


@pytest.mark.parametrize("odd", [5, "x", [], True])
@pytest.mark.parametrize("name", ["task", "_meta", "clientInfo"])
def test_an_object_that_is_none_costs_nothing_but_itself(name: str, odd: Any) -> None:
    assert members_of(read({**MEMBERS, name: odd})) == {**EXPECTED, ATTRIBUTES[name]: None}


@pytest.mark.parametrize("value", [0, "0", 0.5, True, None, ""])
def test_a_request_id_is_any_id(value: Any) -> None:
    for level in ("info", 5):
        params = read({"requestId": value, "level": level})
        assert params is not None
        assert params.request_id == value
        assert type(params.request_id) is type(value)


@pytest.mark.parametrize("odd", [[], {}, [1]])
def test_a_request_id_that_cannot_be_one_is_none(odd: Any) -> None:
    params = read({**MEMBERS, "requestId": odd})
    assert params is not None
    assert params.request_id is None


@pytest.mark.parametrize("odd", [5, {"name": 5}, [], "cat"])
def test_who_describes_itself_oddly_still_says_its_version(odd: Any) -> None:
    version = META + "protocolVersion"
    params = read({"_meta": {version: "2026-07-28", META + "clientInfo": odd}})
    assert params is not None
    assert params.meta == Meta("2026-07-28", None)
    params = read({"_meta": {version: 5, META + "clientInfo": {"name": "cat"}}})
    assert params is not None
    assert params.meta == Meta(None, ClientInfo("cat"))


@pytest.mark.parametrize(
    ("raw", "text"), [(b'"a"', "a"), (b"5", None), (b"null", None), (b"", None)]
)
def test_a_text_is_read_where_there_is_one(raw: bytes, text: str | None) -> None:
    assert read_text(Raw(raw)) == text
