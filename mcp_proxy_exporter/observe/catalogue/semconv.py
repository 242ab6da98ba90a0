"""The families that OpenTelemetry's semantic conventions for MCP name, off by default.

Knows the conventions' names, labels and buckets in Prometheus' spelling; does not know which error
type an end has (`observe.semconv`).
"""

from mcp_proxy_exporter.observe.catalogue.buckets import SEMCONV_BUCKETS
from mcp_proxy_exporter.observe.family import Family, Kind

_LABELS = (
    "server",
    "mcp_method_name",
    "gen_ai_tool_name",
    "gen_ai_prompt_name",
    "error_type",
    "rpc_response_status_code",
)
# A tool's name goes with one method only, and so does a prompt's.
_BOUND = "S*J*M+S*J*T+S*J*Q"

SEMCONV = (
    Family(
        name="mcp_server_operation_duration_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=_LABELS,
        bound=_BOUND,
        buckets=SEMCONV_BUCKETS,
        optional=True,
        help="OpenTelemetry's mcp.server.operation.duration: time from a JSON-RPC request, read to "
        "its end, to its end, with all that it waited for.",
    ),
    Family(
        name="mcp_client_operation_duration_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=_LABELS,
        bound=_BOUND,
        buckets=SEMCONV_BUCKETS,
        optional=True,
        help="OpenTelemetry's mcp.client.operation.duration: the same time of what was sent to the "
        "upstream, where every JSON-RPC error code is an error.",
    ),
)
