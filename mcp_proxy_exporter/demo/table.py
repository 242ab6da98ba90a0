"""How the figures look: pure functions from a `View` to text.

Knows columns, widths and colours; does not know terminals (`screen`) or where figures come from
(`figures`). Plain ASCII, so that no terminal's encoding can refuse it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mcp_proxy_exporter.demo.figures import Reading, Row

_BOLD: Final = "1"
_DIM: Final = "2"
_YELLOW: Final = "33"
_RED: Final = "31"

ALARMING_SHARE: Final = 0.5
"""Error shares from here on are red, lesser ones yellow."""
NARROWEST_NAME: Final = 8
"""Columns that the tool's name keeps on a narrow terminal; the rest of the line is clipped."""

_HEADINGS: Final = ("calls", "calls/s", "errors", "p50", "p95", "in flight")
_WIDTHS: Final = (8, 9, 9, 10, 10, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that one picture shows."""

    proxy_url: str
    metrics_url: str
    index_url: str
    rows: Sequence[Row]
    elapsed: float
    """Seconds since the demonstration began."""
    window: float
    """Seconds that rates and quantiles look back."""
    custom: Mapping[str, Reading] = field(default_factory=dict)
    """The cats' own metrics, by name."""
    problem: str | None = None
    """Why the figures are old, if they are."""
    footer: str = ""


def render_frame(view: View, *, width: int, colour: bool) -> str:
    """Draw the whole picture, for a terminal of ``width`` columns; ends with a newline.

    No line is longer than ``width``; colours are SGR sequences, nothing else is escaped.
    """
    name_width = _fit_names(view.rows, width)
    lines: list[Sequence[tuple[str, str]]] = [
        [("Cats behind mcp-proxy-exporter", _BOLD), (f"  {view.elapsed:.0f} s", _DIM)],
        [],
        [("  MCP      ", _DIM), (view.proxy_url, ""), ("   through the proxy", _DIM)],
        [("  metrics  ", _DIM), (view.metrics_url, "")],
        [("  index    ", _DIM), (view.index_url, "")],
        [],
        [(_align("tool", _HEADINGS, name_width), _BOLD)],
        *([_draw_row(row, name_width) for row in view.rows] or [[("no calls yet", _DIM)]]),
        [],
        *_draw_custom(view.custom),
        [(f"Totals since the start; calls/s, p50 and p95 over {view.window:.0f} s.", _DIM)],
    ]
    if view.problem is not None:
        lines.append([(view.problem, _RED)])
    if view.footer:
        lines.append([(view.footer, _DIM)])
    return "".join(_join(line, width, colour=colour) + "\n" for line in lines)


def render_lines(view: View) -> str:
    """Write a plain line per tool and per metric of the cats' own; ends with a newline."""
    lines = [f"{view.elapsed:6.1f}s  {_describe(row)}" for row in view.rows]
    lines += [
        f"{view.elapsed:6.1f}s  {name}: {_read_out(reading)}"
        for name, reading in sorted(view.custom.items())
    ]
    if view.problem is not None:
        lines.append(f"{view.elapsed:6.1f}s  {view.problem}")
    return "".join(f"{line}\n" for line in lines)


def render_addresses(view: View) -> str:
    """Write the addresses to open, one a line; ends with a newline."""
    return f"MCP {view.proxy_url}\nmetrics {view.metrics_url}\nindex {view.index_url}\n"


def format_seconds(seconds: float | None) -> str:
    """Write a duration with two or three significant digits: ``2.5 ms``, ``340 ms``, ``1.25 s``."""
    if seconds is None:
        return "-"
    # 0.9995 would read 1000 ms.
    if seconds >= 0.9995:  # noqa: PLR2004
        return f"{seconds:.2f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f} ms" if milliseconds < 99.95 else f"{milliseconds:.0f} ms"  # noqa: PLR2004


def format_share(share: float | None) -> str:
    """Write a share of 1 as per cent."""
    return "-" if share is None else f"{share:.1%}"


def _read_out(reading: Reading) -> str:
    if not reading.buckets:
        return f"{reading.value:g}"
    median, high = reading.estimate(0.5), reading.estimate(0.95)
    quantiles = "" if median is None or high is None else f", p50 {median:.0f}, p95 {high:.0f}"
    return f"{reading.value:.0f} observed{quantiles}"


def _format_rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"


def _format_cells(row: Row) -> tuple[str, ...]:
    return (
        f"{row.calls:.0f}",
        _format_rate(row.rate),
        format_share(row.error_share),
        format_seconds(row.p50),
        format_seconds(row.p95),
        f"{row.in_flight:.0f}",
    )


def _describe(row: Row) -> str:
    calls, rate, errors, p50, p95, in_flight = (
        cell.replace(" ", "") for cell in _format_cells(row)
    )
    return (
        f"{row.tool:<14} calls={calls} rate={rate}/s errors={errors} "
        f"p50={p50} p95={p95} in_flight={in_flight}"
    )


def _draw_row(row: Row, name_width: int) -> Sequence[tuple[str, str]]:
    cells = _format_cells(row)
    split = _HEADINGS.index("errors")
    return [
        (_align(row.tool, cells[:split], name_width), ""),
        (cells[split].rjust(_WIDTHS[split]), _choose_colour(row.error_share)),
        (_align_cells(cells[split + 1 :], _WIDTHS[split + 1 :]), ""),
    ]


def _draw_custom(custom: Mapping[str, Reading]) -> Iterable[Sequence[tuple[str, str]]]:
    if not custom:
        return
    yield [("metrics of the cats' own, by configuration alone", _BOLD)]
    width = max(map(len, custom))
    for name, reading in sorted(custom.items()):
        yield [(f"{name.ljust(width)}  {_read_out(reading)}", "")]
    yield []


def _choose_colour(share: float | None) -> str:
    if not share:
        return ""
    return _RED if share >= ALARMING_SHARE else _YELLOW


def _fit_names(rows: Iterable[Row], width: int) -> int:
    wanted = max((len(row.tool) for row in rows), default=0)
    return max(NARROWEST_NAME, min(wanted, width - sum(_WIDTHS)))


def _align(name: str, cells: Sequence[str], name_width: int) -> str:
    if len(name) > name_width:
        name = name[: name_width - 2] + ".."
    return name.ljust(name_width) + _align_cells(cells, _WIDTHS)


def _align_cells(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=False))


def _join(parts: Sequence[tuple[str, str]], width: int, *, colour: bool) -> str:
    """Put (text, SGR code) parts on one line of at most ``width`` visible columns."""
    line = ""
    for text, code in parts:
        clipped = text[:width]
        width -= len(clipped)
        line += f"\x1b[{code}m{clipped}\x1b[0m" if colour and code and clipped else clipped
    return line
