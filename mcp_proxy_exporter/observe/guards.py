"""How full the guarded labels are: what a scrape says about names from the wire.

Knows which guards watch over a label of a server and how often one refused; does not know what
makes a name admissible (`labels`). Whoever makes label values of text from outside registers its
guard here.
"""

from collections.abc import Callable, Sequence

from mcp_proxy_exporter.observe.labels import Names
from mcp_proxy_exporter.observe.series import Polled, Store, Value, Values
from mcp_proxy_exporter.observe.words import GUARDED_LABELS


class LabelGuards:
    """All guards of the process, by server and by the label whose values they admit."""

    def __init__(self, store: Store) -> None:
        self._overflow = store.of(Values, "mcp_proxy_label_overflow_total")
        self._names: dict[tuple[str, str], tuple[Names, ...]] = {}
        self._tell(store, "mcp_proxy_label_values", len)
        self._tell(store, "mcp_proxy_label_values_limit", lambda names: names.limit)

    def watch(self, server: str, label: str, names: Names) -> Value:
        """Tell from now on how full these names are; return the counter of what they refuse.

        Several may guard one label of a server: their figures are added up. Raises KeyError for a
        label that `words.GUARDED_LABELS` lacks: the bound of the families counts on that list.
        """
        self._begin(server)
        # A new tuple: a scrape may be reading in another thread.
        self._names[server, label] = (*self._names[server, label], names)
        return self._overflow.child(server, label)

    def _begin(self, server: str) -> None:
        """Show all guarded labels of a server, those that nobody watches at 0."""
        for label in GUARDED_LABELS:
            # So that a rate sees the first one that is refused.
            self._overflow.child(server, label)
            self._names.setdefault((server, label), ())

    def _tell(self, store: Store, family: str, figure: Callable[[Names], int]) -> None:
        polled = store.of(Polled, family)

        def read() -> Sequence[Value]:
            return [
                Value(polled.family, labels, sum(map(figure, names)))
                # A copy: another server may begin meanwhile.
                for labels, names in tuple(self._names.items())
            ]

        polled.watch(read)
