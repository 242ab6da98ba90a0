"""Whose fault it is, and the answer that says so."""

import pytest

from mcp_proxy_exporter.observe.words import LIMITS
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy.errors import (
    _LIMITS,
    ProxyError,
    Rejected,
    UpstreamError,
    UpstreamReason,
    answer,
    overloaded,
    shutting_down,
)

FAULTS = {
    "connect_refused": (502, Abort.UPSTREAM_UNREACHABLE),
    "connect_timeout": (502, Abort.UPSTREAM_UNREACHABLE),
    "connect_failed": (502, Abort.UPSTREAM_UNREACHABLE),
    "dns": (502, Abort.UPSTREAM_UNREACHABLE),
    "tls": (502, Abort.UPSTREAM_UNREACHABLE),
    "response_timeout": (504, Abort.UPSTREAM_TIMEOUT),
    "total_timeout": (504, Abort.UPSTREAM_TIMEOUT),
    "closed_before_head": (502, Abort.UPSTREAM_CLOSED),
    "bad_response": (502, Abort.UPSTREAM_CLOSED),
    "truncated": (502, Abort.UPSTREAM_CLOSED),
}


def test_every_upstream_fault_has_its_status_and_its_word() -> None:
    errors = {str(reason): UpstreamError(reason, "it failed") for reason in UpstreamReason}
    assert {reason: (error.status, error.abort) for reason, error in errors.items()} == FAULTS
    for reason, error in errors.items():
        assert error.reason == reason
        assert error.upstream_reason == reason
        assert str(error) == f"{error.status} {reason}: it failed"


def test_a_refused_request_is_the_clients_fault() -> None:
    error = Rejected(431, "header_size", "too large")
    assert isinstance(error, ProxyError)
    assert error.abort is Abort.REJECTED


def test_the_proxys_own_end_is_nobodys_fault() -> None:
    error = shutting_down()
    assert (error.status, error.reason, error.abort) == (503, "shutting_down", Abort.SHUTDOWN)


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize("body", [True, False])
def test_an_answer_is_plain_text_that_nobody_mistakes_for_json_rpc(
    *, close: bool, body: bool
) -> None:
    error = UpstreamError(UpstreamReason.CONNECT_REFUSED, "the upstream refused the connection")
    head, _, text = answer(error, close=close, body=body).partition(b"\r\n\r\n")
    expected = b"mcp-proxy-exporter: the upstream refused the connection (connect_refused)\n"
    assert text == (expected if body else b"")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 502 Bad Gateway",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: %d" % len(expected),
        *([b"Connection: close"] if close else []),
    ]


def test_who_is_told_to_come_back_is_told_when() -> None:
    # RFC 9110 section 10.2.3.
    for error in (overloaded("too_many_requests"), shutting_down()):
        assert b"\r\nRetry-After: 1\r\n" in answer(error, close=False)
    assert b"Retry-After" not in answer(Rejected(431, "header_size", "x"), close=True)


def test_a_reason_that_is_a_limits_end_names_its_setting() -> None:
    assert overloaded("too_many_requests").limit == "requests"
    assert Rejected(400, "header", "x").limit == ""
    assert UpstreamError(UpstreamReason.TOTAL_TIMEOUT, "x").limit == "total"
    assert UpstreamError(UpstreamReason.BAD_RESPONSE, "x", cause="header_size").limit == (
        "head_bytes"
    )
    assert set(_LIMITS.values()) | {"client_idle", "upstream_idle", "client_write"} == LIMITS


@pytest.mark.parametrize("status", [400, 403, 408, 414, 421, 431, 501, 502, 503, 504, 505, 508])
def test_every_status_in_use_has_a_phrase(status: int) -> None:
    whole = answer(ProxyError(status, "a", "b", abort=Abort.REJECTED), close=True)
    start = whole.split(b"\r\n")[0]
    assert start.startswith(b"HTTP/1.1 %d " % status)
    assert len(start) > len(b"HTTP/1.1 400 ")
    assert whole.endswith(b"\r\n\r\nmcp-proxy-exporter: b (a)\n")
