"""How full the guarded labels are: what a scrape says about names from the wire.

Knows which guards watch over a label and how often one refused; does not know what makes a name
admissible (`labels`). Whoever makes label values of text from outside registers its guard here.
"""

from collections.abc import Callable, Sequence

from mcp_proxy_exporter.observe.labels import Names
from mcp_proxy_exporter.observe.series import Polled, Store, Value, Values
from mcp_proxy_exporter.observe.words import GUARDED_LABELS


class LabelGuards:
    """All guards of the process, by the label whose values they admit."""

    def __init__(self, store: Store) -> None:
        overflow = store.of(Values, "mcp_proxy_label_overflow_total")
        # At 0 before the first one, so that a rate sees it.
        self._overflow = {label: overflow.child(label) for label in GUARDED_LABELS}
        self._names: dict[str, tuple[Names, ...]] = dict.fromkeys(GUARDED_LABELS, ())
        self._tell(store, "mcp_proxy_label_values", len)
        self._tell(store, "mcp_proxy_label_values_limit", lambda names: names.limit)

    def watch(self, label: str, names: Names) -> Value:
        """Tell from now on how full these names are; return the counter of what they refuse.

        Several may guard one label, as each server's do: their figures are added up. Raises
        KeyError for a label that `words.GUARDED_LABELS` lacks: the bound of the families counts
        on that list.
        """
        # A new tuple: a scrape may be reading in another thread.
        self._names[label] = (*self._names[label], names)
        return self._overflow[label]

    def _tell(self, store: Store, family: str, figure: Callable[[Names], int]) -> None:
        polled = store.of(Polled, family)

        def read() -> Sequence[Value]:
            return [
                Value(polled.family, (label,), sum(map(figure, names)))
                for label, names in self._names.items()
            ]

        polled.watch(read)
