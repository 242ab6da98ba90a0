"""A past whose every figure is known: two exporters, a third that is gone, and what they saw.

Knows what was scraped each minute of the hour; does not know the boards.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.grafana.engine import Engine, run_past

SCRAPE_SECONDS = 60
SPAN = 3600
"""Seconds: the boards' time range."""
BEFORE = 30
"""Minutes that were scraped before it."""
END = 1_800_000_000 // 7200 * 7200
MINUTES = SPAN // 60
JOB = "mcp-proxy-exporter"
BOUNDS = ("0.1", "0.5", "1", "+Inf")

At = Callable[[int], float | None]
"""What a series has in a minute of the range, negative before it; None where it is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Whom to ask about the past."""

    engine: Engine
    end: float


def always(value: float) -> At:
    """Stay at a value."""
    return lambda _: value


def climb(per_minute: float) -> At:
    """Grow evenly, from long before the range on."""
    return lambda minute: (minute + BEFORE) * per_minute


def appear(minute: int, value: float) -> At:
    """Be there from a minute on, at once with all that it will ever have."""
    return lambda at: value if at >= minute else None


def _until(minute: int, at: At) -> At:
    return lambda now: at(now) if now < minute else None


def _call(instance: str, server: str, tool: str, outcome: str) -> tuple[str, dict[str, str]]:
    labels = {"instance": instance, "server": server, "tool": tool, "outcome": outcome}
    return "mcp_tool_calls_total", labels


def _list_series() -> Iterator[tuple[tuple[str, dict[str, str]], At]]:
    for instance in ("a", "b"):
        own = {"instance": instance}
        yield ("up", own), always(1)
        yield ("mcp_proxy_build_info", {**own, "version": "1"}), always(1)
        yield ("process_start_time_seconds", own), always(END - 86_400)
        # Both see the same two servers; one is down to both of them, the other to one.
        for server, is_up in (("cats", 1), ("dogs", 0), ("hens", int(instance == "a"))):
            yield ("mcp_upstream_up", {**own, "server": server}), always(is_up)
    # Gone since the middle of the range.
    yield ("up", {"instance": "gone"}), lambda now: float(now < MINUTES // 2)
    yield ("mcp_proxy_build_info", {"instance": "gone", "version": "1"}), _until(30, always(1))
    # Here for long, scraped since ten minutes: nobody knows when it counted what it shows.
    yield ("up", {"instance": "moved"}), appear(50, 1)
    yield ("mcp_proxy_build_info", {"instance": "moved", "version": "1"}), appear(50, 1)
    yield ("process_start_time_seconds", {"instance": "moved"}), appear(50, END - 86_400)
    yield _call("moved", "moved", "nap", "success"), appear(50, 1000)
    # Here and scraped since ten minutes: all that it shows is of the range.
    yield ("up", {"instance": "born"}), appear(50, 1)
    yield ("mcp_proxy_build_info", {"instance": "born", "version": "1"}), appear(50, 1)
    yield ("process_start_time_seconds", {"instance": "born"}), appear(50, END - 620)
    yield _call("born", "born", "nap", "success"), appear(50, 30)
    yield _call("born", "born", "nap", "upstream_timeout"), appear(50, 10)
    yield from _list_traffic()


def _list_traffic() -> Iterator[tuple[tuple[str, dict[str, str]], At]]:
    for instance, per_minute in (("a", 6), ("b", 3)):
        yield _call(instance, "cats", "nap", "success"), climb(per_minute)
    # The only failures of their kind, within one scrape.
    yield _call("a", "cats", "hunt", "upstream_timeout"), appear(20, 8)
    yield _call("a", "dogs", "bark", "success"), appear(20, 15)
    yield _call("a", "dogs", "bark", "protocol_error"), appear(21, 5)
    # Restarted in the middle: 40 a minute before, 2 a minute afterwards.
    yield (
        _call("b", "hens", "lay", "success"),
        lambda now: None if now < 1 else now * 40 if now < 30 else (now - 30) * 2,
    )
    size = {"instance": "a", "server": "cats", "tool": "nap"}
    yield ("mcp_tool_result_size_bytes_sum", size), climb(1200)
    yield ("mcp_tool_result_size_bytes_count", size), climb(6)
    # Nine of ten finish within 0.1 s, all within 1 s.
    timed = {"instance": "a", "server": "cats", "tool": "nap", "outcome": "success"}
    for bound, per_minute in zip(BOUNDS, (9, 9, 10, 10), strict=True):
        name = "mcp_tool_call_duration_seconds_bucket"
        yield (name, {**timed, "le": bound}), climb(per_minute)
    budgets: Mapping[tuple[str, str], float] = {
        ("cats", "availability"): 0.75,
        ("cats", "latency"): 0.5,
        ("dogs", "availability"): -2,
    }
    for (server, slo), left in budgets.items():
        yield ("slo:error_budget_remaining:ratio", {"server": server, "slo": slo}), always(left)


def write_past() -> str:
    """Write what was scraped, one line for each sample."""
    families: dict[str, list[str]] = {}
    for (name, labels), at in _list_series():
        pairs = ",".join(f'{key}="{value}"' for key, value in {"job": JOB, **labels}.items())
        for minute in range(-BEFORE, MINUTES + 1):
            value = at(minute)
            if value is not None:
                moment = END - SPAN + minute * 60
                families.setdefault(name, []).append(f"{name}{{{pairs}}} {value} {moment}")
    lines = [line for name in families for line in (f"# TYPE {name} unknown", *families[name])]
    return "\n".join([*lines, "# EOF", ""])


@contextmanager
def run_known(folder: Path) -> Iterator[Past]:
    """Keep a Prometheus with that past for questions."""
    with run_past(folder, write_past()) as engine:
        yield Past(engine=engine, end=END)
