"""What the boards' queries answer about a run, as the page draws it.

Knows how Grafana chooses steps and fills in variables; does not know how anything is drawn.
"""

from typing import Any

from tests.grafana.engine import Engine
from tests.grafana.files import (
    BOARDS,
    Target,
    fill_in,
    list_annotations,
    list_targets,
    list_variables,
)
from tools.boards.world import SCRAPE_SECONDS, Recording

Chosen = dict[str, list[str]]


def ask_board(engine: Engine, recording: Recording, board: str, chosen: Chosen) -> dict[str, Any]:
    """Return a board with the answers to all of its queries."""
    asker = _Asker(engine, recording, chosen)
    answers: dict[str, Any] = {}
    for target in list_targets(board):
        answers.setdefault(target.panel, {})[target.ref] = asker.ask(target)
    return {
        "board": BOARDS[board],
        "start": recording.start,
        "end": recording.end,
        "answers": answers,
        "annotations": {
            name: asker.ask_range(query, SCRAPE_SECONDS)
            for name, query in list_annotations(board).items()
        },
        "chosen": {
            variable.name: " + ".join(chosen.get(variable.name, ["All"]))
            for variable in list_variables(board)
        },
    }


class _Asker:
    def __init__(self, engine: Engine, recording: Recording, chosen: Chosen) -> None:
        self._engine = engine
        self._recording = recording
        self._chosen = chosen

    def ask(self, target: Target) -> dict[str, Any]:
        """Return the series of a query, and its exemplars."""
        # A board of some minutes has more pixels than scrapes, so the scrapes decide.
        step = max(target.step, SCRAPE_SECONDS)
        if target.instant:
            query = self._fill(target.expr, step)
            found = self._engine.ask("query", {"query": query, "time": self._recording.end})
            return {"step": step, "series": found["result"], "exemplars": []}
        exemplars = self._ask_exemplars(target.expr, step) if target.exemplar else []
        return {
            "step": step,
            "series": self.ask_range(target.expr, step),
            "exemplars": exemplars,
        }

    def ask_range(self, expr: str, step: int) -> list[Any]:
        """Return the series of a query over the time range, at whole steps as in Grafana."""
        start, end = (moment // step * step for moment in self._range)
        times = {"start": start, "end": end, "step": step}
        found = self._engine.ask("query_range", {"query": self._fill(expr, step), **times})
        series: list[Any] = found["result"]
        return series

    @property
    def _range(self) -> tuple[float, float]:
        return self._recording.start, self._recording.end

    def _ask_exemplars(self, expr: str, step: int) -> list[list[float]]:
        start, end = self._range
        asked = {"query": self._fill(expr, step), "start": start, "end": end}
        return [
            [exemplar["timestamp"], float(exemplar["value"])]
            for series in self._engine.ask("query_exemplars", asked)
            for exemplar in series["exemplars"]
        ]

    def _fill(self, expr: str, step: int) -> str:
        span = int(self._recording.end - self._recording.start)
        return fill_in(expr, self._chosen, scrape=SCRAPE_SECONDS, step=step, span=span)
