"""What people ask about their tools, and the queries that answer it: a part of the document.

Knows PromQL; does not know how the document is put together (`document`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One question, and the query that answers it."""

    question: str
    query: str
    """Lines of PromQL."""
    remark: str = ""


ANSWERS = (
    Answer(
        question="Which tools has nobody called?",
        query="mcp_tool_last_call_timestamp_seconds == 0",
        remark="Since the proxy began; over a longer time: "
        "`sum by (server, tool) (increase(mcp_tool_calls_total[30d])) == 0`.",
    ),
    Answer(
        question="What do the tools of a server cost a model's context, before any is called?",
        query="sum by (server) (mcp_tool_definition_estimated_tokens)",
        remark="`topk(10, sum by (server, tool) (mcp_tool_definition_estimated_tokens))` names the "
        "dearest.",
    ),
    Answer(
        question="How much of that do tools cost that nobody has called?",
        query="sum by (server) (\n"
        "  mcp_tool_definition_estimated_tokens\n"
        "  and on (instance, server, tool) mcp_tool_last_call_timestamp_seconds == 0\n"
        ")",
    ),
    Answer(
        question="How long are the results of each tool?",
        query="sum by (server, tool) (rate(mcp_tool_result_size_bytes_sum[1h]))\n"
        "  / sum by (server, tool) (rate(mcp_tool_result_size_bytes_count[1h]))",
    ),
    Answer(
        question="Whose definition changed since yesterday?",
        query="sum by (server, tool) (increase(mcp_tool_definition_changes_total[1d])) > 0",
        remark="A server that was approved once may tell models something else later. "
        "`mcp_tools_added_total` and `mcp_tools_removed_total` count tools that come and go.",
    ),
    Answer(
        question="Which tools fail, and how often?",
        query="sum by (server, tool) (rate(mcp_tool_calls_total{outcome=~"
        '"tool_error|protocol_error|http_error|invalid_response|upstream_.+|abandoned|rejected"'
        "}[5m]))\n"
        "  / sum by (server, tool) (rate(mcp_tool_calls_total[5m]))",
        remark="A tool without a failure has no row.",
    ),
    Answer(
        question="Which failures call themselves success, and why?",
        query="topk(10, sum by (server, tool, reason) (mcp_tool_soft_errors_total))",
        remark="They are in the failures above, too, and need rules: "
        "[custom-metrics.md](custom-metrics.md#errors-that-call-themselves-success).",
    ),
    Answer(
        question="Which server has a call that hangs?",
        query="time() - (mcp_oldest_request_start_timestamp_seconds > 0) > 300",
        remark="Its age in seconds, from five minutes on. `mcp_tool_calls_in_flight > 0` names the "
        "tools that run.",
    ),
    Answer(
        question="Does an agent run in a circle?",
        query="topk(10, sum by (server, tool) (increase(mcp_tool_repeated_calls_total[1h]))) > 0",
        remark="Where a tool is polled by design, that is what it shows.",
    ),
    Answer(
        question="Do the custom metrics and soft errors see every call?",
        query="sum by (metric, reason) (increase(mcp_proxy_custom_metric_skips_total[1h])) > 0",
    ),
)


def describe_answers() -> str:
    """Return the document's questions and queries."""
    parts = []
    for answer in ANSWERS:
        remark = f"\n{answer.remark}\n" if answer.remark else ""
        parts.append(f"**{answer.question}**\n\n```promql\n{answer.query}\n```\n{remark}")
    return "## Questions and queries\n\n" + "\n".join(parts)
