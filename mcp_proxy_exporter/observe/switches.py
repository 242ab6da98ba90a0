"""Which families there are and how they look: what the operator chose about the table.

Knows how choices change the table (`catalogue`) and which of them make no sense; does not know
where they are written (`config`) or who counts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Protocol, TypeAlias

from mcp_proxy_exporter.config.globs import is_chosen, matches
from mcp_proxy_exporter.config.models import DURATION_BUCKETS
from mcp_proxy_exporter.config.section import check_bounds
from mcp_proxy_exporter.observe.catalogue import FAMILIES
from mcp_proxy_exporter.observe.family import Family, Kind

Path: TypeAlias = tuple[str | int, ...]
"""Where a choice stands: its name, then the index or key within."""

COMPANIONS = (
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "python_info",
    "python_gc_objects_collected_total",
    "python_gc_objects_uncollectable_total",
    "python_gc_collections_total",
)
"""The families of the client library, which can be hidden and nothing else."""


class Choices(Protocol):
    """What can be chosen; the settings of the metrics have this shape, too."""

    @property
    def disable(self) -> Sequence[str]:
        """Globs of family names that are neither counted nor shown."""

    @property
    def enable(self) -> Sequence[str]:
        """Globs of family names that are, whatever else is said of them."""

    @property
    def semconv(self) -> bool:
        """Whether the families that OpenTelemetry names exist."""

    @property
    def buckets(self) -> Mapping[str, Sequence[float]]:
        """Upper bounds of single histograms, by the family's name."""

    @property
    def duration_buckets(self) -> Sequence[float]:
        """Upper bounds of the histograms of durations that have none of their own here."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels that every series has, with their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Choices made in the program itself; by default none."""

    disable: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    semconv: bool = False
    buckets: Mapping[str, Sequence[float]] = field(default_factory=dict)
    duration_buckets: tuple[float, ...] = DURATION_BUCKETS
    labels: Mapping[str, str] = field(default_factory=dict)


def find_faults(
    choices: Choices, families: Sequence[Family] = FAMILIES
) -> Iterator[tuple[Path, str]]:
    """Find the choices that no family or more than one label of a series answers to."""
    names = {family.name: family for family in families}
    every = (*names, *COMPANIONS)
    for key, globs in (("disable", choices.disable), ("enable", choices.enable)):
        for index, glob in enumerate(globs):
            if not any(matches((glob,), name) for name in every):
                yield (key, index), f"matches no metric family{_meant(glob, every)}"
    for name in choices.buckets:
        if name not in names:
            yield ("buckets", name), f"is no metric family{_meant(name, names)}"
        elif names[name].kind is not Kind.HISTOGRAM:
            yield ("buckets", name), f"is a {names[name].kind.value}: only histograms have buckets"
    for label in choices.labels:
        owner = next((family.name for family in families if label in family.labels), None)
        if owner is not None:
            yield ("labels", label), f"is a label of {owner} already"


def find_hidden(choices: Choices, families: Sequence[Family] = FAMILIES) -> frozenset[str]:
    """Return the names of the families that are neither counted nor shown."""
    return frozenset(family.name for family in families if not _is_shown(family, choices))


def find_hidden_companions(choices: Choices) -> frozenset[str]:
    """Return the names of the client library's families that are not shown."""
    return frozenset(name for name in COMPANIONS if not _is_chosen(name, choices))


def arrange(choices: Choices, families: Sequence[Family] = FAMILIES) -> tuple[Family, ...]:
    """Return the families with their chosen buckets and labels; ValueError where that is wrong."""
    for path, message in find_faults(choices, families):
        raise ValueError(f"{'.'.join(map(str, path))} {message}")
    for bounds in (choices.duration_buckets, *choices.buckets.values()):
        check_bounds(tuple(bounds))
    constants = tuple(choices.labels.items())
    return tuple(
        replace(family, constants=constants, buckets=_buckets(family, choices))
        for family in families
    )


def _is_shown(family: Family, choices: Choices) -> bool:
    if family.optional and not choices.semconv:
        return matches(choices.enable, family.name)
    return _is_chosen(family.name, choices)


def _is_chosen(name: str, choices: Choices) -> bool:
    return is_chosen(name, enable=choices.enable, disable=choices.disable)


def _buckets(family: Family, choices: Choices) -> tuple[float, ...]:
    default = choices.duration_buckets if family.configurable else family.buckets
    return tuple(choices.buckets.get(family.name, default))


def _meant(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f"; did you mean `{near[0]}`?" if near else ""
