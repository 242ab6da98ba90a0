"""`mcp-context`: what tools take from models' context, whether it is worth it, and what changed."""

from typing import Final

from grafana.boards import draw, promql
from grafana.boards.board import TOOL_URL, Board, Row
from grafana.boards.promql import RANGE, gained, increase, pick, rate, total

_BY_TOOL: Final = ("job", "server", "tool")
_TOKENS: Final = promql.definition_tokens(*_BY_TOOL)
_LAST_CALL: Final = (
    "max by (job, server, tool) "
    f"(max_over_time({pick('mcp_tool_last_call_timestamp_seconds')}[{RANGE}]))"
)
# A tool that was never called has 0, and a restart makes that of all of them, hence the maximum.
_UNUSED: Final = f"{_TOKENS} and on (job, server, tool) (time() - {_LAST_CALL} >= $__range_s)"
_RESULT: Final = "mcp_tool_result_size_bytes"

_PRICE: Final = (
    draw.figure(
        draw.Head(
            title="Tools offered",
            description="Tools in the last complete lists of all chosen servers. Models choose "
            "worse among more than a few dozen.",
            empty="No list seen",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.COUNT),
        f"sum(max by (job, server) ({pick('mcp_tools')}))",
        history=True,
        decimals=0,
    ),
    draw.figure(
        draw.Head(
            title="Definition tokens",
            description="Estimated tokens of all tools' definitions: what a conversation that "
            "loads all of them pays before its first word. By size, so a rough figure.",
            empty="No list seen",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.COUNT),
        promql.definition_tokens(),
        history=True,
    ),
    draw.figure(
        draw.Head(
            title="Tokens of unused tools",
            description="Estimated tokens of the definitions of tools that nobody called in the "
            "time range. Choose a long one before you take a tool away.",
            empty="None: every tool was called",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.COUNT),
        total(_UNUSED),
        history=False,
    ),
    draw.figure(
        draw.Head(
            title="Unused share",
            description="Share of the definition tokens that is spent on tools that nobody called "
            "in the time range.",
            empty="No list seen",
            width=6,
            height=4,
        ),
        draw.Axis(unit=draw.SHARE, steps=((0.5, draw.ORANGE),), base=draw.GREEN),
        promql.share(total(_UNUSED), promql.definition_tokens()),
        history=False,
    ),
    draw.table(
        draw.Head(
            title="Cost and use of tools",
            description="The dearest definitions first, beside what is called in the time range: "
            "shorten what is dear and used, drop what is dear and not. A click on a tool opens "
            "its own board.",
            empty="No list seen",
            width=15,
            height=10,
        ),
        draw.Column(expr=_TOKENS, title="Tokens", unit=draw.COUNT),
        draw.Column(
            expr=total(gained(pick("mcp_tool_calls_total")), *_BY_TOOL),
            title="Calls",
            unit=draw.WHOLE,
            decimals=0,
        ),
        draw.Column(
            expr=total(gained(pick(f"{_RESULT}_sum")), *_BY_TOOL),
            title="Result bytes",
            unit=draw.BYTES,
        ),
        draw.Column(expr=f"({_LAST_CALL} > 0) * 1000", title="Last call", unit=draw.MOMENT),
        keys=_BY_TOOL,
        sort="Tokens",
        links={"tool": TOOL_URL},
    ),
    draw.table(
        draw.Head(
            title="Unused tools that cost",
            description="The 20 dearest definitions of tools that nobody called in the time range.",
            empty="None: every tool was called",
            width=9,
            height=10,
        ),
        draw.Column(expr=f"topk(20, {_UNUSED})", title="Tokens", unit=draw.COUNT),
        keys=_BY_TOOL,
        sort="Tokens",
        links={"tool": TOOL_URL},
    ),
)

_CHANGE: Final = (
    draw.lines(
        draw.Head(
            title="Definition tokens by server",
            description="How the price of the definitions grows. A step is a new release of a "
            "server; nobody reviews the context that it takes.",
            empty="No list seen",
            width=7,
        ),
        draw.Axis(unit=draw.COUNT),
        draw.Line(expr=promql.definition_tokens("server"), legend="{{server}}"),
    ),
    draw.lines(
        draw.Head(
            title="Drift",
            description="Tools that came, went, or changed their definition under the same name, "
            "in each minute or longer step. Changes without a release of the server deserve a "
            "look: a tool's description is an instruction to the model.",
            empty="No list seen",
            width=7,
        ),
        draw.Axis(unit=draw.COUNT),
        draw.Line(
            expr=total(increase(pick("mcp_tools_added_total"))), legend="added", color=draw.GREEN
        ),
        draw.Line(
            expr=total(increase(pick("mcp_tools_removed_total"))),
            legend="removed",
            color=draw.ORANGE,
        ),
        draw.Line(
            expr=total(increase(pick("mcp_tool_definition_changes_total"))),
            legend="changed",
            color=draw.PURPLE,
        ),
        bars=True,
        by_minute=True,
    ),
    draw.table(
        draw.Head(
            title="Changed tools",
            description="Tools whose definition changed in the time range, and how often.",
            empty="No definition changed",
            width=10,
        ),
        draw.Column(
            expr=total(gained(pick("mcp_tool_definition_changes_total")), *_BY_TOOL) + " > 0",
            title="Changes",
            unit=draw.WHOLE,
            decimals=0,
        ),
        keys=_BY_TOOL,
        sort="Changes",
        links={"tool": TOOL_URL},
    ),
)

_RESULTS: Final = (
    draw.lines(
        draw.Head(
            title="Lists and instructions",
            description="Size of the complete tools/list, and of the instructions that servers "
            "give to clients: both are read in every conversation.",
            empty="No list seen",
            width=8,
        ),
        draw.Axis(unit=draw.BYTES),
        draw.Line(
            expr=f"sum(max by (job, server) ({pick('mcp_tools_list_size_bytes')}))",
            legend="tools/list",
        ),
        draw.Line(
            expr=f"sum(max by (job, server) ({pick('mcp_server_instructions_size_bytes')}))",
            legend="instructions",
        ),
    ),
    draw.lines(
        draw.Head(
            title="Result size",
            description="Size of tools' results as JSON text: what each call adds to the context. "
            "A p99 far above the mean is one tool that returns everything it has.",
            empty="No results",
            width=8,
        ),
        draw.Axis(unit=draw.BYTES),
        draw.Line(expr=promql.quantile(0.5, _RESULT), legend="p50", color=draw.GREEN),
        draw.Line(expr=promql.mean(_RESULT), legend="mean", color=draw.BLUE),
        draw.Line(expr=promql.quantile(0.99, _RESULT), legend="p99", color=draw.RED),
    ),
    draw.lines(
        draw.Head(
            title="Results said twice",
            description="Share of the results' bytes that is text which only repeats the "
            "structured content beside it. Clients that give both to the model pay twice.",
            empty="No results",
            width=8,
        ),
        draw.Axis(unit=draw.SHARE),
        draw.Line(
            expr=promql.share(
                total(rate(pick("mcp_tool_result_duplicated_bytes_total")), "server"),
                total(rate(pick(f"{_RESULT}_sum")), "server"),
            ),
            legend="{{server}}",
        ),
    ),
)

CONTEXT: Final = Board(
    uid="mcp-context",
    title="MCP context cost and inventory",
    description="What tools take from models' context, whether it is worth it, and what changed.",
    rows=(
        Row(title="What does a conversation pay before it begins?", panels=_PRICE),
        Row(title="What changed?", panels=_CHANGE),
        Row(title="What do results add?", panels=_RESULTS),
    ),
)
