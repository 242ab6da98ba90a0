"""PromQL as a tree: which series a query selects, in which function, and which labels it names.

Knows the grammar by `promql_parser`; does not know boards or metrics.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """One selection of series within a query."""

    name: str
    """Empty where the name is matched like a label."""
    matchers: dict[str, list[str]]
    """Their values, by label."""
    function: str
    """The innermost function around it that is no aggregation; empty for none."""
    window: bool
    """It has a range."""
    in_subquery: bool
    earlier: bool
    """It has an offset."""


def parse(query: str) -> promql_parser.Expr:
    """Parse a query without variables; raises ValueError where it is none."""
    return promql_parser.parse(query)


def list_selectors(
    expr: promql_parser.Expr, function: str = "", *, in_subquery: bool = False
) -> Iterator[Selector]:
    """Yield the selections of a query."""
    if isinstance(expr, promql_parser.MatrixSelector):
        yield _read(expr.vector_selector, function, window=True, in_subquery=in_subquery)
    elif isinstance(expr, promql_parser.VectorSelector):
        yield _read(expr, function, window=False, in_subquery=in_subquery)
    else:
        if isinstance(expr, promql_parser.Call):
            function = expr.func.name
        in_subquery = in_subquery or isinstance(expr, promql_parser.SubqueryExpr)
        for child in _children(expr):
            yield from list_selectors(child, function, in_subquery=in_subquery)


def list_grouping_labels(expr: promql_parser.Expr) -> Iterator[str]:
    """Yield the labels that a query groups by or matches on."""
    if isinstance(expr, promql_parser.AggregateExpr) and expr.modifier:
        yield from expr.modifier.labels
    if isinstance(expr, promql_parser.BinaryExpr) and expr.modifier:
        yield from expr.modifier.matching.labels if expr.modifier.matching else ()
        yield from expr.modifier.group_labels or ()
    for child in _children(expr):
        yield from list_grouping_labels(child)


def _children(expr: promql_parser.Expr) -> Iterator[promql_parser.Expr]:
    if isinstance(expr, promql_parser.BinaryExpr):
        yield expr.lhs
        yield expr.rhs
    elif isinstance(expr, promql_parser.Call):
        yield from expr.args
    elif isinstance(
        expr,
        promql_parser.AggregateExpr
        | promql_parser.ParenExpr
        | promql_parser.UnaryExpr
        | promql_parser.SubqueryExpr,
    ):
        yield expr.expr


def _read(
    selector: promql_parser.VectorSelector, function: str, *, window: bool, in_subquery: bool
) -> Selector:
    matchers: dict[str, list[str]] = {}
    for matcher in selector.matchers.matchers:
        matchers.setdefault(matcher.name, []).append(matcher.value)
    return Selector(
        name=selector.name or "",
        matchers=matchers,
        function=function,
        window=window,
        in_subquery=in_subquery,
        earlier=bool(selector.offset),
    )
