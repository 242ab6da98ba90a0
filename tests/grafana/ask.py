"""The boards' queries, asked as Grafana asks them.

Knows the time range of a `World`; does not know what the answers should be.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.grafana.engine import SCRAPE_SECONDS
from tests.grafana.files import Target, fill_in, list_panels, list_targets
from tests.grafana.world import SPAN, World

STEP = 1
"""Seconds: a time range of half a minute has more pixels than seconds."""

Chosen = Mapping[str, Sequence[str]]
"""What is chosen of each variable; of one that is not here, all."""


def fill(query: str, chosen: Chosen, step: int = STEP) -> str:
    """Fill in a query for the time range of the world."""
    return fill_in(query, chosen, scrape=SCRAPE_SECONDS, step=step, span=SPAN)


def run(world: World, query: str, chosen: Chosen, *, instant: bool, step: int = STEP) -> list[Any]:
    """Return the series of a query, over the time range or at its end."""
    filled = fill(query, chosen, step)
    if instant:
        found = world.engine.ask("query", {"query": filled, "time": world.end})
    else:
        # With long steps the last one must be at the end, where Grafana's would be at full minutes:
        # half a minute may have none.
        start = world.end - SPAN // step * step
        times = {"start": start, "end": world.end, "step": step}
        found = world.engine.ask("query_range", {"query": filled, **times})
    series: list[Any] = found["result"]
    return series


def run_target(world: World, target: Target, chosen: Chosen) -> list[Any]:
    """Return the series of a panel's query."""
    step = max(target.step, STEP)
    return run(world, target.expr, chosen, instant=target.instant, step=step)


def find_target(board: str, panel: str, ref: str = "A") -> Target:
    """Find a query by its panel's title."""
    [target] = [each for each in list_targets(board) if (each.panel, each.ref) == (panel, ref)]
    return target


def find_column(board: str, table: str, title: str) -> Target:
    """Find a query by its table's and its column's title."""
    [panel] = [each for each in list_panels(board) if each["title"] == table]
    names = panel["transformations"][1]["options"]["renameByName"]
    [value] = [name for name, each in names.items() if each == title]
    ref = value.removeprefix("Value #")
    return find_target(board, table, "A" if ref == "Value" else ref)


def read(world: World, target: Target, chosen: Chosen, *by: str) -> dict[tuple[str, ...], float]:
    """Return the value of each series by some of its labels: over a time range its mean."""
    return {
        tuple(series["metric"].get(label, "") for label in by): _average(series)
        for series in run_target(world, target, chosen)
    }


def _average(series: Any) -> float:
    values = [float(value) for _, value in _samples(series)]
    return sum(values) / len(values)


def _samples(series: Any) -> Iterator[tuple[float, str]]:
    yield from series["values"] if "values" in series else [series["value"]]
