"""How many series there can be: the last part of the reader's document, and its formula.

Knows how the bounds of all families add up; does not know what a family means (`document`).
"""

from mcp_proxy_exporter.observe.catalogue import FAMILIES, SECTIONS
from mcp_proxy_exporter.observe.family import DIMENSIONS, Family
from mcp_proxy_exporter.protocol.outcome import Outcome

_TEXT = """\
## How many series

"Series at most" in the tables is made of these:

| symbol | stands for | at most |
|---|---|---|
{rows}
All families together have at most `{process} + S x ({server} + {tool} x T + {client} x K)` lines of
figures, whatever peers send. That takes every method, status and outcome there is: a tool whose
calls end in `n` different ways has at most {fixed} + {per_outcome} x `n` lines, and {tasks} more if
tasks answer them.

`metrics.semconv` adds at most `S x ({semconv} + {semconv_name} x (T + Q))` lines, and a custom
metric what `label_limit` says: at most `S x T x (label_limit + 1)` series. Other buckets make
histograms longer or shorter: three lines and one for each bound.
"""


def describe_bounds() -> str:
    """Return what the document says about numbers of series."""
    rows = "".join(
        f"| {symbol} | {dimension.text} | {dimension.size or 'as configured'} |\n"
        for symbol, dimension in DIMENSIONS.items()
    )
    process = limit(servers=0, tools=0, clients=0)
    server = limit(servers=1, tools=0, clients=0) - process
    tool = limit(servers=1, tools=1, clients=0) - process - server
    client = limit(servers=1, tools=0, clients=1) - process - server
    semconv = limit(servers=1, tools=0, clients=0, prompts=0) - process - server
    per_outcome = sum(family.lines for family in filter(_by_outcome, SECTIONS["Tool calls"]))
    one = {"S": 1, "T": 1}
    tasks = sum(family.limit(one) * family.lines for family in filter(_by_tool, SECTIONS["Tasks"]))
    return _TEXT.format(
        rows=rows,
        process=process,
        server=server,
        tool=tool,
        client=client,
        fixed=tool - tasks - per_outcome * len(Outcome),
        per_outcome=per_outcome,
        tasks=tasks,
        semconv=semconv,
        semconv_name=limit(servers=1, tools=0, clients=0, prompts=1) - process - server - semconv,
    )


def limit(*, servers: int, tools: int, clients: int, prompts: int | None = None) -> int:
    """Return how many lines of figures a scrape can have at most, the process apart.

    tools, clients and prompts are how many labels of each kind a server has, ``_other`` and
    ``_unknown`` included. Without prompts, the families that are off by default are left out.
    """
    sizes = {"S": servers, "T": tools, "K": clients, "Q": prompts or 0}
    return sum(
        family.limit(sizes) * family.lines
        for family in FAMILIES
        if prompts is not None or not family.optional
    )


def _by_outcome(family: Family) -> bool:
    return "outcome" in family.labels


def _by_tool(family: Family) -> bool:
    return "tool" in family.labels
