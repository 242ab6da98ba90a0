"""What `bench.compare` measured, and the table that says it.

Knows samples and medians; does not know how a sample is taken. A ratio is the median of the ratios
to nginx within a round.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

BASELINE = "nginx"
COLUMNS = (
    "case",
    "target",
    "req/s",
    "/ nginx",
    "p50 us",
    "p99 us",
    "CPU us/req",
    "/ nginx",
    "core",
    "waited",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of wrk against one target."""

    case: str
    target: str
    round: int
    requests: int
    rate: float
    p50_us: float
    p99_us: float
    cpu_us: float
    """CPU of the target's processes per request."""
    core: float
    """Share of one CPU that the target used: below ~0.9 at c >= 16 it was not the bottleneck."""
    waited: float
    """Share of the time that the target waited for its CPU: other work disturbed it."""
    counted: int | None
    """What the target's own metrics counted as successful calls."""


class Results:
    """Samples by case and target."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.cases = list(dict.fromkeys(sample.case for sample in samples))
        self.targets = sorted(
            {sample.target for sample in samples}, key=[s.target for s in samples].index
        )

    def of(self, case: str, target: str) -> list[Sample]:
        """Return the rounds of one case and target, in their order."""
        found = [s for s in self.samples if s.case == case and s.target == target]
        return sorted(found, key=lambda sample: sample.round)

    def median(self, case: str, target: str, figure: Callable[[Sample], float]) -> float:
        """Return the median over the rounds."""
        return median(map(figure, self.of(case, target)))

    def ratio(self, case: str, target: str, figure: Callable[[Sample], float]) -> float | None:
        """Return the median ratio to the baseline in the same round; None without a baseline."""
        pairs = zip(self.of(case, target), self.of(case, BASELINE), strict=False)
        ratios = [figure(sample) / figure(base) for sample, base in pairs]
        return median(ratios) if ratios else None


def rate(sample: Sample) -> float:
    return sample.rate


def cpu(sample: Sample) -> float:
    return sample.cpu_us


def format_ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def format_table(results: Results) -> str:
    """Return the markdown table of all medians."""
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|---|---" + "|--:" * (len(COLUMNS) - 2) + "|",
    ]
    for case in results.cases:
        for target in results.targets:
            cells = [
                case,
                target,
                f"{results.median(case, target, rate):,.0f}",
                format_ratio(results.ratio(case, target, rate)),
                f"{results.median(case, target, lambda s: s.p50_us):,.0f}",
                f"{results.median(case, target, lambda s: s.p99_us):,.0f}",
                f"{results.median(case, target, cpu):.1f}",
                format_ratio(results.ratio(case, target, cpu)),
                f"{results.median(case, target, lambda s: s.core):.2f}",
                f"{results.median(case, target, lambda s: s.waited):.2f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
