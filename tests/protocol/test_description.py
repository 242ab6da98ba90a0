"""What a server says of itself."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcp_proxy_exporter.protocol import (
    Client,
    Limits,
    ServerDescribed,
    SessionOpened,
)
from mcp_proxy_exporter.protocol import description as module
from mcp_proxy_exporter.protocol.calls import open_call
from mcp_proxy_exporter.protocol.description import (
    read_discovery,
    read_initialize,
    read_version,
)
from mcp_proxy_exporter.protocol.events import Event
from mcp_proxy_exporter.protocol.ids import MAX_TEXT
from mcp_proxy_exporter.protocol.jsonrpc import Message
from mcp_proxy_exporter.protocol.params import ClientInfo, Meta, Params
from mcp_proxy_exporter.protocol.state import ServerState

V = "2025-06-18"
MODERN = "2026-07-28"
CAT = {"name": "cat", "version": "1.2"}
SERVER_INFO = "io.modelcontextprotocol/serverInfo"


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def answer(
    method: str, result: Any, *, status: int = 200, session: bytes | None = None
) -> list[Event]:
    """Give what a server that answers so tells besides the end of the call."""
    state = ServerState(Limits())
    meta = Meta(MODERN, ClientInfo("dog")) if method == "server/discover" else None
    params = Params(client_info=ClientInfo("dog"), protocol_version="2025-11-25", meta=meta)
    opened = open_call(method, params, Client(), None, 1.0)
    message = Message("2.0", 1, result=raw(result))
    closed = state.judge(opened, message, b"", status, 1.5, None, 2.0)
    return [*state.learn(opened, message, closed.outcome, (None, session), 2.0)]


def test_initialize_says_who_the_server_is_and_begins_the_session() -> None:
    result = {"protocolVersion": V, "serverInfo": CAT, "instructions": "Be kind.", "x": [1]}
    described = ServerDescribed("cat", "1.2", V, len('"Be kind."'))
    assert answer("initialize", result) == [described]
    assert answer("initialize", result, session=b"s") == [described, SessionOpened()]


def test_the_revision_is_the_one_asked_for_where_the_answer_names_none() -> None:
    for version in ({}, {"protocolVersion": ""}, {"protocolVersion": 5}):
        assert answer("initialize", {**version, "serverInfo": CAT}) == [
            ServerDescribed("cat", "1.2", "2025-11-25")
        ]


def test_discovery_says_it_in_its_meta_and_in_the_revision_of_the_request() -> None:
    result = {
        "resultType": "complete",
        "supportedVersions": ["2099-01-01"],
        "protocolVersion": V,
        "serverInfo": {"name": "dog", "version": "0"},
        "instructions": "Be kind.",
        "_meta": {SERVER_INFO: CAT},
    }
    described = ServerDescribed("cat", "1.2", MODERN, len('"Be kind."'))
    assert answer("server/discover", result) == [described]


def test_a_refused_answer_says_nothing() -> None:
    for method in ("initialize", "server/discover"):
        result = {"serverInfo": CAT, "_meta": {SERVER_INFO: CAT}}
        assert answer(method, result, status=500) == []
        assert answer(method, {**result, "isError": True}) == []


def test_other_answers_say_nothing_of_the_server() -> None:
    for method in ("ping", "tools/call", "resources/list", "tools/list"):
        assert answer(method, {"serverInfo": CAT, "_meta": {SERVER_INFO: CAT}}) == []


@pytest.mark.parametrize(
    ("info", "name", "version"),
    [
        (CAT, "cat", "1.2"),
        ({"name": "cat", "title": "Cat", "version": "1", "icons": [{}]}, "cat", "1"),
        ({"name": "cat"}, "cat", None),
        ({"version": "1"}, None, "1"),
        ({"name": "", "version": ""}, "", ""),
        ({"name": "x" * 5_000, "version": "y" * 5_000}, "x" * MAX_TEXT, "y" * MAX_TEXT),
        ({"name": 5, "version": "1"}, None, "1"),
        ({"name": "cat", "version": None}, "cat", None),
    ],
)
def test_names_are_read_whatever_their_types_and_bounded(
    info: Any, name: str | None, version: str | None
) -> None:
    expected = (ServerDescribed(name, version, V),)
    assert read_initialize(raw({"serverInfo": info}), V) == expected
    assert read_discovery(raw({"_meta": {SERVER_INFO: info}}), V) == expected


@pytest.mark.parametrize("info", [None, 5, "cat", [], {}, {"name": None, "version": 1}])
def test_who_says_nothing_is_not_described(info: Any) -> None:
    assert read_initialize(raw({"serverInfo": info}), V) == ()
    assert read_discovery(raw({"_meta": {SERVER_INFO: info}}), V) == ()
    assert read_discovery(raw({"_meta": info}), V) == ()


def test_instructions_alone_are_a_description() -> None:
    expected = (ServerDescribed(None, None, None, 2),)
    for read in (read_initialize, read_discovery):
        assert read(raw({"instructions": ""}), None) == expected


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ('"M\\u00fcde?\\n"', len('"M\\u00fcde?\\n"')),
        ('"Müde?"', 8),
        ("null", 0),
        ("5", 0),
        ('["Be kind."]', 0),
        ('{"a": 1}', 0),
    ],
)
def test_instructions_are_measured_as_json_text(text: str, size: int) -> None:
    result = Raw(b'{"serverInfo":{"name":"cat"},"instructions": %b }' % text.encode())
    assert read_initialize(result, V) == (ServerDescribed("cat", None, V, size),)


@pytest.mark.parametrize(
    ("result", "version"),
    [
        ({"protocolVersion": V}, V),
        ({"protocolVersion": "x" * 5_000}, "x" * MAX_TEXT),
        ({"protocolVersion": ""}, None),
        ({"protocolVersion": None}, None),
        ({"protocolVersion": 5}, None),
        ({}, None),
        ([], None),
    ],
)
def test_the_revision_is_read(result: Any, version: str | None) -> None:
    assert read_version(raw(result)) == version


@pytest.mark.parametrize("decode", ["_decode_result", "_decode_meta", "_decode_info"])
def test_what_is_too_deep_says_nothing(decode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(_: Raw) -> None:
        raise RecursionError

    monkeypatch.setattr(module, decode, overflow)
    assert read_discovery(raw({"_meta": {SERVER_INFO: CAT}}), V) == ()


@given(st.binary(max_size=100))
def test_any_result_can_be_read(data: bytes) -> None:
    assert read_version(Raw(data)) is None
    assert read_initialize(Raw(data), None) == ()
    assert read_discovery(Raw(data), None) == ()
