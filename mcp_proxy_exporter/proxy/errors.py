"""Whose fault a failed exchange is, and the answer that says so.

Knows statuses and closed reasons; does not know sockets. The answers are plain text so that no
client can mistake them for the peer's JSON-RPC (MCP 2026-07-28, basic: a local error must not look
like the peer's), and 400, 404 and 405 are kept for malformed HTTP: MCP clients read those three as
protocol negotiation.
"""

from enum import StrEnum
from http import HTTPStatus

from mcp_proxy_exporter.protocol.outcome import Abort


class UpstreamReason(StrEnum):
    """How the upstream failed; the value is the label ``reason`` of mcp_upstream_failures_total."""

    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECT_FAILED = "connect_failed"
    DNS = "dns"
    TLS = "tls"
    RESPONSE_TIMEOUT = "response_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    CLOSED_BEFORE_HEAD = "closed_before_head"
    BAD_RESPONSE = "bad_response"
    TRUNCATED = "truncated"


class ProxyError(Exception):
    """A failed exchange: the HTTP status to answer and how the tap is told."""

    def __init__(
        self, status: int, reason: str, detail: str, *, abort: Abort, limit: str = ""
    ) -> None:
        """``reason`` is a closed word, ``detail`` a sentence that holds nothing secret.

        ``limit`` is the setting that was exceeded: the label of mcp_proxy_limit_hits_total.
        """
        super().__init__(f"{status} {reason}: {detail}")
        self.abort = abort
        self.status = status
        self.reason = reason
        self.detail = detail
        self.limit = limit


class Rejected(ProxyError):
    """The client's request is malformed, or not for this proxy; it never reaches the upstream."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        limit = _LIMITS.get(reason, "")
        super().__init__(status, reason, detail, abort=Abort.REJECTED, limit=limit)


class UpstreamError(ProxyError):
    """The upstream could not be reached, broke the exchange or took too long."""

    def __init__(self, reason: UpstreamReason, detail: str, *, cause: str = "") -> None:
        """Status and abort follow from the reason; ``cause`` is the finer word of a bad head."""
        status, abort = _UPSTREAM_FAULTS[reason]
        limit = _LIMITS.get(cause or reason, "")
        super().__init__(status, reason, detail, abort=abort, limit=limit)
        self.upstream_reason = reason


_LIMITS = {
    "line_size": "head_bytes",
    "header_size": "head_bytes",
    "header_count": "head_fields",
    "head_timeout": "client_head",
    "body_timeout": "client_body",
    "too_many_connections": "connections",
    "too_many_requests": "requests",
    UpstreamReason.CONNECT_TIMEOUT: "connect",
    UpstreamReason.RESPONSE_TIMEOUT: "response_head",
    UpstreamReason.TOTAL_TIMEOUT: "total",
}
"""The setting, of ``limits`` or ``timeouts``, behind each reason that is one's end."""
_BAD_GATEWAY = HTTPStatus.BAD_GATEWAY.value
_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE.value
_GATEWAY_TIMEOUT = HTTPStatus.GATEWAY_TIMEOUT.value
_UPSTREAM_FAULTS = {
    UpstreamReason.CONNECT_REFUSED: (_BAD_GATEWAY, Abort.UPSTREAM_UNREACHABLE),
    # 502, not 504: the outcome is "no connection", and 504 would say that the server had the call.
    UpstreamReason.CONNECT_TIMEOUT: (_BAD_GATEWAY, Abort.UPSTREAM_UNREACHABLE),
    UpstreamReason.CONNECT_FAILED: (_BAD_GATEWAY, Abort.UPSTREAM_UNREACHABLE),
    UpstreamReason.DNS: (_BAD_GATEWAY, Abort.UPSTREAM_UNREACHABLE),
    UpstreamReason.TLS: (_BAD_GATEWAY, Abort.UPSTREAM_UNREACHABLE),
    UpstreamReason.RESPONSE_TIMEOUT: (_GATEWAY_TIMEOUT, Abort.UPSTREAM_TIMEOUT),
    UpstreamReason.TOTAL_TIMEOUT: (_GATEWAY_TIMEOUT, Abort.UPSTREAM_TIMEOUT),
    UpstreamReason.CLOSED_BEFORE_HEAD: (_BAD_GATEWAY, Abort.UPSTREAM_CLOSED),
    UpstreamReason.BAD_RESPONSE: (_BAD_GATEWAY, Abort.UPSTREAM_CLOSED),
    UpstreamReason.TRUNCATED: (_BAD_GATEWAY, Abort.UPSTREAM_CLOSED),
}


def shutting_down() -> ProxyError:
    """Build the answer to a request that the proxy's own end cut short."""
    return ProxyError(
        _UNAVAILABLE,
        "shutting_down",
        "the proxy is shutting down",
        abort=Abort.SHUTDOWN,
    )


def overloaded(reason: str) -> Rejected:
    """Build the answer to what comes while a limit's whole number is in use."""
    return Rejected(_UNAVAILABLE, reason, "the proxy is at its limit; try again")


def answer(error: ProxyError, *, close: bool, body: bool = True) -> bytes:
    """Serialise the whole HTTP response for an error; ``body`` False answers a HEAD."""
    text = f"mcp-proxy-exporter: {error.detail} ({error.reason})\n".encode()
    head = (
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(text)}\r\n"
        # RFC 9110 section 10.2.3. Calls are short, and so is the wait for a successor.
        + ("Retry-After: 1\r\n" if error.status == _UNAVAILABLE else "")
        + ("Connection: close\r\n\r\n" if close else "\r\n")
    ).encode()
    return head + text if body else head
