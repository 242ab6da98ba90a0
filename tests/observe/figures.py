"""Metrics to feed with events, and what a scrape of them says."""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from mcp_proxy_exporter.config.custom import CustomMetricSettings, SoftErrorSettings
from mcp_proxy_exporter.observe.exposition import OPENMETRICS, TEXT
from mcp_proxy_exporter.observe.metrics import Metrics, MetricsOptions, ServerMetrics
from mcp_proxy_exporter.observe.switches import Switches
from mcp_proxy_exporter.protocol.events import Call, CallClosed, CallOpened, Tool, ToolsListed
from mcp_proxy_exporter.protocol.outcome import Outcome

Key: TypeAlias = tuple[str, frozenset[tuple[str, str]]]

UNIX_TIME: Final = 1_000_000.0
MONOTONIC: Final = 100.0
OFFSET: Final = UNIX_TIME - MONOTONIC

# What breaks parsers, encoders, terminals and eyes.
HOSTILE_NAMES: Final = (
    "",
    " ",
    "\x00",
    "\x00" * 200,
    "\n",
    "a\nb",
    "a\r\nb",
    'say "hi"',
    "back\\slash",
    "trailing\\",
    "\\n",
    '\\"',
    '"} 1\nmcp_fake_total{a="',
    "{}",
    "{server}",
    "%d %s %%",
    "# EOF",
    "\ud800",
    "ok\udfff\ud83d",
    "\u202egnp.exe",
    "zero\u200bwidth",
    "line\u2028separator\u2029",
    "next\x85line",
    "\ufeffbom",
    "\ufffe\uffff",
    "\U0010ffff",
    "\x7f\x1b[31mred",
    "наступить",
    "猫",
    "😼",
    "tab\tcolon:equals=comma,",
    "_other",
    "_empty",
    "x" * 128,
    "x" * 129,
    "y" * (1 << 20),
    "\ud800" * (1 << 20),
)


def make_metrics(  # noqa: PLR0913  # each is a setting
    *,
    max_tools: int = 200,
    max_listed_tools: int = 1000,
    max_clients: int = 50,
    max_prompts: int = 50,
    semconv: bool = False,
    disable: tuple[str, ...] = (),
    custom: tuple[CustomMetricSettings, ...] = (),
    soft_errors: tuple[SoftErrorSettings, ...] = (),
    wall: float = UNIX_TIME,
) -> Metrics:
    """Return metrics with clocks that stand still."""
    options = MetricsOptions(
        max_tools=max_tools,
        max_listed_tools=max_listed_tools,
        max_clients=max_clients,
        max_prompts=max_prompts,
        switches=Switches(semconv=semconv, disable=disable),
        custom=custom,
        soft_errors=soft_errors,
        wall_clock=lambda: wall,
        monotonic_clock=lambda: MONOTONIC,
    )
    return Metrics(options)


class Figures:
    """The samples of one scrape. A series that appears twice fails the reading."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families: dict[str, str] = {}
        self.samples: dict[Key, float] = {}
        for family in families:
            assert family.name not in self.families, family.name
            self.families[family.name] = family.type
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.samples, key
                self.samples[key] = sample.value

    def __call__(self, name: str, /, **labels: str) -> float | None:
        """Return the value of a series; None where there is none."""
        return self.samples.get((name, frozenset(labels.items())))

    def series(self, name: str) -> Iterator[dict[str, str]]:
        """Yield the labels of every series of a sample name."""
        return (dict(labels) for found, labels in self.samples if found == name)

    def values(self, name: str, label: str) -> set[str]:
        """Return the values of one label."""
        return {labels[label] for labels in self.series(name)}

    def total(self, name: str, /, **labels: str) -> float:
        """Return the sum of all series of a sample name that have these label values."""
        return sum(
            value
            for (found, having), value in self.samples.items()
            if found == name and labels.items() <= dict(having).items()
        )


def scrape(metrics: Metrics) -> Figures:
    """Return what a scraper reads in both formats, which must be the same."""
    text = from_text(TEXT.render(metrics))
    opened = from_openmetrics(OPENMETRICS.render(metrics))
    own = {key for key in text.samples if key[0].startswith("mcp_")}
    assert own == {key for key in opened.samples if key[0].startswith("mcp_")}
    assert {key: text.samples[key] for key in own} == {key: opened.samples[key] for key in own}
    return text


def from_text(written: bytes) -> Figures:
    """Read Prometheus text 0.0.4."""
    return Figures(read_text(written.decode()))


def from_openmetrics(written: bytes) -> Figures:
    """Read OpenMetrics 1.0.0 strictly."""
    return Figures(read_openmetrics(written.decode()))  # type: ignore[no-untyped-call]


def call_tool(
    server: ServerMetrics, name: str | None, outcome: Outcome = Outcome.SUCCESS, *, at: float = 10.0
) -> None:
    """Report one tool call from beginning to end."""
    call = Call("tools/call", name, at)
    server.handle(CallOpened(call))
    server.handle(CallClosed(call, outcome, at + 0.02, at + 0.01, 300))


def list_tools(server: ServerMetrics, *names: str) -> None:
    """Report a complete list."""
    server.handle(ToolsListed(tuple(map(Tool, names))))
