"""What may become a label value, and how it is written.

Knows that names come from peers who may want to break a scrape or to explode the number of series;
does not know families. Two defences: `clean` makes any text harmless, `ToolNames`,
`PromptNames` and `ClientNames` decide which names get series of their own at all.
"""

from collections.abc import Collection
from typing import Protocol

from mcp_proxy_exporter.observe.words import OTHER, UNKNOWN

EMPTY = "_empty"
"""Stands for the empty name: to Prometheus an empty label value is no label."""

LARGEST_WHOLE = 2**53
"""Doubles, which is what Prometheus keeps, hold every whole number up to here."""

# Deceives the eye or breaks a parser: lone surrogates (cannot be encoded), controls, newlines, bidi
# marks, invisible spaces. All that `str.isprintable` calls unprintable is shown as one character.
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def clean(text: str, max_length: int) -> str:
    """Return text that every format encodes and every parser reads, at most max_length long.

    Names that differ only in replaced or cut characters become the same text: they share series.
    """
    if len(text) > max_length:
        text = text[: max_length - 1] + _ELLIPSIS
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _REPLACEMENT for c in text)
    return text or EMPTY


def label_text(value: object, max_length: int) -> str:
    """Return a value out of JSON as a label: texts, numbers, true and false as they are written."""
    kind = type(value)
    if kind is str:
        return clean(str(value), max_length)
    if value is None:
        return UNKNOWN
    if kind is bool:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if -LARGEST_WHOLE <= value <= LARGEST_WHOLE else OTHER
    # One that is whole reads as the same number without a point does: 200.0 and 200.
    return f"{value:.16g}" if isinstance(value, float) else OTHER


def escape(text: str) -> str:
    """Return the text as it stands between a label's quotes, in both exposition formats."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def render(names: Collection[str], values: Collection[str]) -> str:
    """Return ``{name="value",...}`` as it follows a sample's name; nothing without labels."""
    pairs = (f'{name}="{escape(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{','.join(pairs)}}}" if names else ""


class Names(Protocol):
    """Decides which values of one server become values of a label."""

    def __len__(self) -> int:
        """Return how many values are admitted."""

    @property
    def limit(self) -> int:
        """How many values can be admitted at most, as things stand."""


class CappedNames:
    """Decides by a cap alone which names become label values: the first ones, for ever.

    Names are kept as `clean` returns them, so memory is bounded as well as series.
    """

    def __init__(self, *, max_names: int, max_length: int) -> None:
        self.limit = max_names
        """How many names can be admitted at most."""
        self._max_length = max_length
        self._admitted: set[str] = set()

    def __len__(self) -> int:
        """Return how many names are admitted."""
        return len(self._admitted)

    def find(self, name: str) -> str | None:
        """Return the label of a name that was admitted before; else None."""
        text = clean(name, self._max_length)
        return text if text in self._admitted else None

    def admit(self, name: str) -> str | None:
        """Return the label of a name; None beyond the cap."""
        text = clean(name, self._max_length)
        if text not in self._admitted:
            if len(self._admitted) >= self.limit:
                return None
            self._admitted.add(text)
        return text


class ClientNames(CappedNames):
    """Decides which names of one server's clients become label values.

    Nobody vouches for a client's name: the first ones are admitted.
    """


class PromptNames(CappedNames):
    """Decides which prompt names of one server become label values.

    A server that answers with a prompt vouches for its name: nothing else admits one.
    """

    def judge(self, name: str, *, succeeded: bool) -> str | None:
        """Return the label of a name whose request ended; None where it has none."""
        return self.admit(name) if succeeded else self.find(name)


class ToolNames:
    """Decides which tool names of one server become label values. Admitted once is for ever.

    - A name that the server listed is admitted, up to `max_listed` different names in all the time
      of the process: a server cannot make series without end either.
    - While no complete list is known to hold, a name is also admitted when a call of it succeeds,
      up to `max_called` names. Callers cannot use up what listed names are entitled to: the two
      counts are kept apart, and a name that is listed later gives its place back.
    - An answer with ``isError`` never admits: most servers answer an unknown tool that way.

    Names are kept as `clean` returns them, so memory is bounded as well as series.
    """

    def __init__(self, *, max_called: int, max_listed: int, max_length: int) -> None:
        self.max_length = max_length
        """Characters of a label value; longer texts are cut."""
        self._max_called = max_called
        self._max_listed = max_listed
        self._called: set[str] = set()
        self._listed: set[str] = set()
        self._complete = False
        self._cut = False

    def __len__(self) -> int:
        """Return how many names are admitted."""
        return len(self._called) + len(self._listed)

    @property
    def limit(self) -> int:
        """How many names can be admitted at most, as things stand."""
        called = len(self._called) if self._complete else self._max_called
        return called + self._max_listed

    def clean(self, name: str) -> str:
        """Return the text under which a name would be admitted."""
        return clean(name, self.max_length)

    def admit_listed(self, name: str) -> str | None:
        """Return the label of a name that the server advertises; None beyond the cap."""
        text = self.clean(name)
        if text in self._listed:
            return text
        if len(self._listed) >= self._max_listed:
            self._cut = True
            return text if text in self._called else None
        self._called.discard(text)
        self._listed.add(text)
        return text

    def complete(self) -> None:
        """Take note that a list was seen to its end: from now on success admits nothing."""
        self._complete = True

    def cut(self) -> None:
        """Take note that the server listed names that nobody remembers."""
        self._cut = True

    def reopen(self) -> None:
        """Take note that the server has other tools than it listed, until the next complete list.

        Success admits names again, within the cap of all such names so far.
        """
        self._complete = False

    def admit_called(self, name: str) -> str | None:
        """Return the label of a name whose call succeeded; None where that does not admit it."""
        text = self.clean(name)
        if self._complete or len(self._called) >= self._max_called:
            return None
        self._called.add(text)
        return text

    def is_unknown(self, name: str) -> bool:
        """Return whether a name certainly was on no list.

        Never without a complete list that still holds, and no more once the lists went beyond the
        cap, or beyond what is kept of one: then nobody remembers what they said.
        """
        return self._complete and not self._cut and self.clean(name) not in self._listed
