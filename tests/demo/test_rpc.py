"""Reading the members of JSON-RPC messages."""

from typing import Any

import pytest

from mcp_proxy_exporter.demo import rpc


@pytest.mark.parametrize("request_id", [0, -1, 7, "", "0", "id-ä"])
def test_strings_and_integers_are_ids(request_id: str | int) -> None:
    assert rpc.read_request_id({"id": request_id}) == request_id


@pytest.mark.parametrize("request_id", [None, True, False, 0.5, [], {}])
def test_nothing_else_is_an_id(request_id: Any) -> None:
    with pytest.raises(rpc.Fault) as refused:
        rpc.read_request_id({"id": request_id})

    assert refused.value.code == rpc.INVALID_REQUEST


def test_absent_params_are_empty() -> None:
    assert rpc.read_params({}) == {}


def test_params_that_are_no_object_are_refused() -> None:
    with pytest.raises(rpc.Fault) as refused:
        rpc.read_params({"params": []})

    assert refused.value.code == rpc.INVALID_PARAMS


@pytest.mark.parametrize(
    ("params", "token"),
    [
        ({"_meta": {"progressToken": 0}}, 0),
        ({"_meta": {"progressToken": "t"}}, "t"),
        ({"_meta": {"progressToken": None}}, None),
        ({"_meta": {}}, None),
        ({"_meta": []}, None),
        ({}, None),
    ],
)
def test_a_progress_token_is_a_string_or_an_integer(params: Any, token: str | int | None) -> None:
    assert rpc.read_progress_token(params) == token


def test_a_refusal_has_data_only_where_there_is_some() -> None:
    plain = rpc.build_refusal(1, rpc.Fault(rpc.INVALID_PARAMS, "no"))
    rich = rpc.build_refusal(None, rpc.Fault(rpc.METHOD_NOT_FOUND, "no", data="x"))

    assert plain == {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no"}}
    assert rich["id"] is None
    assert rich["error"]["data"] == "x"
