import pytest

from mcp_proxy_exporter.observe.catalogue import FAMILIES
from mcp_proxy_exporter.observe.guards import LabelGuards
from mcp_proxy_exporter.observe.labels import CappedNames
from mcp_proxy_exporter.observe.series import Polled, Store, Values
from mcp_proxy_exporter.observe.words import GUARDED_LABELS


def read(store: Store, name: str) -> dict[tuple[str, ...], float]:
    is_counter = name.endswith("_total")
    held = store.of(Values, name) if is_counter else store.of(Polled, name)
    return {series.labels: series.value for series in held.series()}


def test_each_server_has_figures_of_its_own_and_its_guards_of_one_label_are_added_up() -> None:
    store = Store(FAMILIES)
    guards = LabelGuards(store)
    first, second, third = (CappedNames(max_names=size, max_length=9) for size in (2, 5, 3))
    overflow = guards.watch("cats", "prompt", first)
    assert guards.watch("cats", "prompt", second) is overflow
    assert guards.watch("dogs", "prompt", third) is not overflow
    for name in ("a", "b", "c"):
        if first.admit(name) is None:
            overflow.value += 1
        second.admit(name)
    third.admit("a")
    zeros = {(server, label): 0 for server in ("cats", "dogs") for label in GUARDED_LABELS}
    cats, dogs = ("cats", "prompt"), ("dogs", "prompt")
    assert read(store, "mcp_proxy_label_values") == {**zeros, cats: 5, dogs: 1}
    assert read(store, "mcp_proxy_label_values_limit") == {**zeros, cats: 7, dogs: 3}
    assert read(store, "mcp_proxy_label_overflow_total") == {**zeros, cats: 1}


def test_a_label_that_no_bound_counts_on_is_refused() -> None:
    with pytest.raises(KeyError):
        LabelGuards(Store(FAMILIES)).watch("cats", "whim", CappedNames(max_names=1, max_length=9))
