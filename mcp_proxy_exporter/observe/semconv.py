"""What is counted per request of one server under the names of OpenTelemetry's conventions.

Knows the conventions' labels and which end is an error for whom (semantic-conventions-genai,
docs/gen-ai/mcp.md and model/mcp/common.yaml, 2026-08-20); does not know which names are labels
(`tools`, `labels`). Exists only where the configuration asks for it.

A proxy is both sides at once: the server of its clients and the client of the upstream. It forwards
bytes as they come, so both operations take the same time, to within the proxy's own overhead; what
differs is what counts as an error, and what never reached the upstream.
"""

from mcp_proxy_exporter.observe.labels import PromptNames
from mcp_proxy_exporter.observe.series import Histograms, Store, Values
from mcp_proxy_exporter.observe.tools import ToolMetrics
from mcp_proxy_exporter.observe.words import (
    JSONRPC_CODES,
    LONG_LIVED_METHODS,
    OTHER,
    PROMPT_CALL,
    REQUEST_METHODS,
    SEMCONV_CALLER_ERRORS,
    SEMCONV_ERROR_TYPES,
    SEMCONV_OTHER,
    TOOL_CALL,
)
from mcp_proxy_exporter.protocol.events import Call, CallClosed
from mcp_proxy_exporter.protocol.outcome import Outcome

SERVER_SIDE = "mcp_server_operation_duration_seconds"
CLIENT_SIDE = "mcp_client_operation_duration_seconds"


class SemconvMetrics:
    """Times the requests of one server as an instrumented server and client would."""

    def __init__(self, server: str, store: Store, tools: ToolMetrics, names: PromptNames) -> None:
        self._server = server
        self._tools = tools
        self._names = names
        self._served = store.of(Histograms, SERVER_SIDE)
        self._sent = store.of(Histograms, CLIENT_SIDE)
        self._overflow = store.of(Values, "mcp_proxy_label_overflow_total").child(server, "prompt")

    def closed(self, event: CallClosed) -> None:
        """Time a request that ended, once it was judged under its tool's name (`tools`)."""
        call = event.call
        error = SEMCONV_ERROR_TYPES[event.outcome]
        if error is None or call.method in LONG_LIVED_METHODS:
            return
        served, code = error, ""
        if event.error_code is not None or event.outcome is Outcome.PROTOCOL_ERROR:
            error = code = _code(event.error_code)
            served = "" if event.error_code in SEMCONV_CALLER_ERRORS else error
        method = call.method if call.method in REQUEST_METHODS else SEMCONV_OTHER
        tool = self._tool(call)
        prompt = self._prompt(call, succeeded=event.outcome is Outcome.SUCCESS)
        duration = event.at - call.opened_at
        self._served.child(self._server, method, tool, prompt, served, code).observe(duration)
        if event.outcome is not Outcome.REJECTED:
            self._sent.child(self._server, method, tool, prompt, error, code).observe(duration)

    def _tool(self, call: Call) -> str:
        if call.method != TOOL_CALL or call.name is None:
            return ""
        label = self._tools.find(call.name).label
        return SEMCONV_OTHER if label == OTHER else label

    def _prompt(self, call: Call, *, succeeded: bool) -> str:
        if call.method != PROMPT_CALL or call.name is None:
            return ""
        label = self._names.judge(call.name, succeeded=succeeded)
        if label is None:
            self._overflow.value += 1
            return SEMCONV_OTHER
        return label


def _code(code: int | None) -> str:
    return SEMCONV_OTHER if code is None else JSONRPC_CODES.get(code, SEMCONV_OTHER)
