import pytest

from mcp_proxy_exporter.observe.catalogue import FAMILIES
from mcp_proxy_exporter.observe.guards import LabelGuards
from mcp_proxy_exporter.observe.labels import CappedNames
from mcp_proxy_exporter.observe.series import Polled, Store, Values
from mcp_proxy_exporter.observe.words import GUARDED_LABELS


def read(store: Store, name: str) -> dict[str, float]:
    is_counter = name.endswith("_total")
    held = store.of(Values, name) if is_counter else store.of(Polled, name)
    return {series.labels[0]: series.value for series in held.series()}


def test_guards_of_one_label_are_added_up() -> None:
    store = Store(FAMILIES)
    guards = LabelGuards(store)
    first, second = (CappedNames(max_names=size, max_length=9) for size in (2, 5))
    overflow = guards.watch("prompt", first)
    assert guards.watch("prompt", second) is overflow
    for name in ("a", "b", "c"):
        if first.admit(name) is None:
            overflow.value += 1
        second.admit(name)
    zeros = dict.fromkeys(GUARDED_LABELS, 0)
    assert read(store, "mcp_proxy_label_values") == {**zeros, "prompt": 5}
    assert read(store, "mcp_proxy_label_values_limit") == {**zeros, "prompt": 7}
    assert read(store, "mcp_proxy_label_overflow_total") == {**zeros, "prompt": 1}


def test_a_label_that_no_bound_counts_on_is_refused() -> None:
    with pytest.raises(KeyError):
        LabelGuards(Store(FAMILIES)).watch("whim", CappedNames(max_names=1, max_length=9))
