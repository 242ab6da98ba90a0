"""The envelope of 2026-07-28, without any HTTP."""

from collections.abc import Mapping
from typing import Any

import pytest
from multidict import CIMultiDict

from mcp_proxy_exporter.demo import rpc
from mcp_proxy_exporter.demo.modern import (
    check_envelope,
    decode_header,
    encode_header,
    is_modern,
)

META = {rpc.META_VERSION: "2026-07-28", rpc.META_CAPABILITIES: {}}


def build_call(meta: object = META, name: object = "nap") -> Mapping[str, Any]:
    params = {"name": name, "arguments": {}, "_meta": meta}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def build_headers(**changes: str) -> CIMultiDict[str]:
    headers = {
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "nap",
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return CIMultiDict(headers)


@pytest.mark.parametrize(
    ("headers", "message", "modern"),
    [
        ({"MCP-Protocol-Version": "2026-07-28"}, None, True),
        ({}, build_call(), True),
        ({"MCP-Protocol-Version": "2025-11-25"}, {"method": "ping"}, False),
        ({}, {"method": "ping", "params": {"_meta": {"progressToken": 1}}}, False),
        ({}, {"method": "ping", "params": []}, False),
        ({}, [build_call()], False),
        ({}, None, False),
    ],
)
def test_the_era_is_decided_by_each_request(
    headers: dict[str, str], message: object, *, modern: bool
) -> None:
    assert is_modern(CIMultiDict(headers), message) is modern


def test_a_request_whose_headers_mirror_its_body_passes() -> None:
    check_envelope(build_call(), build_headers())


def test_a_name_may_come_as_base64() -> None:
    check_envelope(
        build_call(name="Nickerchen, ä"), build_headers(mcp_name=encode_header("Nickerchen, ä"))
    )


def test_a_method_without_a_name_needs_no_name_header() -> None:
    message = {"method": "tools/list", "params": {"_meta": META}}
    headers = build_headers(mcp_method="tools/list")
    del headers["mcp-name"]

    check_envelope(message, headers)


@pytest.mark.parametrize(
    ("message", "headers", "code"),
    [
        (build_call(meta={}), build_headers(), rpc.INVALID_PARAMS),
        (build_call(meta="2026-07-28"), build_headers(), rpc.INVALID_PARAMS),
        (build_call(meta={rpc.META_VERSION: "2026-07-28"}), build_headers(), rpc.INVALID_PARAMS),
        ({"method": "tools/list"}, build_headers(), rpc.INVALID_PARAMS),
        (build_call(), build_headers(mcp_protocol_version="2025-11-25"), rpc.HEADER_MISMATCH),
        (build_call(), build_headers(mcp_method="tools/list"), rpc.HEADER_MISMATCH),
        (build_call(), build_headers(mcp_name="catch_laser"), rpc.HEADER_MISMATCH),
        (build_call(), build_headers(mcp_name="=?base64?%%%?="), rpc.HEADER_MISMATCH),
        (build_call(name=7), build_headers(mcp_name="7"), rpc.HEADER_MISMATCH),
        (build_call(), CIMultiDict[str](), rpc.HEADER_MISMATCH),
        (
            build_call(),
            CIMultiDict([*build_headers().items(), ("Mcp-Name", "nap")]),
            rpc.HEADER_MISMATCH,
        ),
        (
            build_call(meta={**META, rpc.META_VERSION: "2099-01-01"}),
            build_headers(mcp_protocol_version="2099-01-01"),
            rpc.UNSUPPORTED_VERSION,
        ),
    ],
)
def test_the_first_thing_wrong_is_refused_with_400(
    message: Mapping[str, Any], headers: CIMultiDict[str], code: int
) -> None:
    with pytest.raises(rpc.Fault) as refused:
        check_envelope(message, headers)

    assert refused.value.code == code
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        ("nap", "nap"),
        ("two words", "two words"),
        ("", ""),
        (" edges ", "=?base64?IGVkZ2VzIA==?="),
        ("Krallenschärfer", "=?base64?S3JhbGxlbnNjaMOkcmZlcg==?="),
        ("=?base64?bmFw?=", "=?base64?PT9iYXNlNjQ/Ym1Gdz89?="),
        ("line\nbreak", "=?base64?bGluZQpicmVhaw==?="),
    ],
)
def test_header_values_survive_the_way(value: str, wire: str) -> None:
    assert encode_header(value) == wire
    assert decode_header(wire) == value


@pytest.mark.parametrize("wire", ["=?base64?@@?=", "=?base64?/w==?="])
def test_a_broken_sentinel_equals_nothing(wire: str) -> None:
    assert decode_header(wire) is None
