"""New inputs out of old ones: bytes that were real traffic until somebody touched them.

Knows lines, JSON values and tokens, because what breaks them all at once gets no further than the
first check; does not know what reads the result.
"""

import random
import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

MAX_SIZE = 8_192
"""Of most inputs: what is wrong with a long one is mostly wrong with a short one."""
MAX_LONG = 65_536
"""Of the others: work that grows with the square of the size shows here."""
_LONG = 0.004
_SPAN = 64

_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|\{\}|\[\]')
_LINE_END = re.compile(rb"\r?\n")
_NUMBER = re.compile(rb"[0-9]+")

Random: TypeAlias = random.Random
Change: TypeAlias = Callable[[bytes], bytes]


def random_of(*parts: object) -> Random:
    """Return the source of chance that belongs to these values, in every process the same."""
    return random.Random(repr(parts))  # noqa: S311  (repeatable, not secret)


class Mutator:
    """Makes inputs of seeds and tokens."""

    def __init__(self, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
        self._seeds = [*seeds]
        self._tokens = [*tokens]
        self._rng = random_of()
        changes: dict[Change, int] = {
            self._set_byte: 3,
            self._insert_token: 5,
            self._overwrite: 3,
            self._replace_value: 6,
            self._replace_number: 2,
            self._remove_span: 3,
            self._repeat_span: 2,
            self._move_span: 2,
            self._repeat_line: 2,
            self._remove_line: 2,
            self._replace_line: 3,
            self._splice: 2,
            self._truncate: 1,
        }
        self._changes = [change for change, weight in changes.items() for _ in range(weight)]

    def make(self, rng: Random) -> bytes:
        """Return the input that belongs to a source of chance."""
        self._rng = rng
        data = rng.choice(self._seeds)
        changes = rng.choice((0, 1, 1, 1, 2, 2, 3, 4, 6, 9))
        for _ in range(changes):
            data = rng.choice(self._changes)(data)
        if rng.random() < _LONG:
            return self._lengthen(data)[:MAX_LONG]
        return data[:MAX_SIZE]

    def _place(self, data: bytes) -> int:
        return int(self._rng.random() * (len(data) + 1))

    def _span(self, data: bytes) -> tuple[int, int]:
        begin = self._place(data)
        longest = _SPAN if self._rng.random() < 0.8 else len(data)
        return begin, begin + int(self._rng.random() * (longest + 1))

    def _line(self, data: bytes) -> tuple[int, int]:
        """Find a line, with its end."""
        end = _LINE_END.search(data, self._place(data))
        stop = len(data) if end is None else end.end()
        begin = data.rfind(b"\n", 0, max(stop - 2, 0)) + 1
        return begin, stop

    def _set_byte(self, data: bytes) -> bytes:
        place = self._place(data)
        byte = self._rng.choice((0, 9, 10, 13, 32, 34, 44, 58, 91, 92, 93, 123, 125, 127, 128, 255))
        if self._rng.random() < 0.5:
            byte = int(self._rng.random() * 256)
        return b"%b%c%b" % (data[:place], byte, data[place + 1 :])

    def _insert_token(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + self._rng.choice(self._tokens) + data[place:]

    def _overwrite(self, data: bytes) -> bytes:
        place = self._place(data)
        token = self._rng.choice(self._tokens)
        return data[:place] + token + data[place + len(token) :]

    def _replace_value(self, data: bytes) -> bytes:
        """Replace one JSON value, or number, by another, so that the rest stays readable."""
        old = _VALUE.search(data, self._place(data)) or _VALUE.search(data)
        if old is None:
            return self._insert_token(data)
        new = _VALUE.search(data, self._place(data)) if self._rng.random() < 0.4 else None
        value = self._rng.choice(self._tokens) if new is None else new[0]
        return data[: old.start()] + value + data[old.end() :]

    def _replace_number(self, data: bytes) -> bytes:
        old = _NUMBER.search(data, self._place(data)) or _NUMBER.search(data)
        if old is None:
            return data
        value = int(old[0][:18])
        new = self._rng.choice((value + 1, max(value - 1, 0), 0, 1, value * 16, 2**63, 10**20))
        return b"%b%d%b" % (data[: old.start()], new, data[old.end() :])

    def _remove_span(self, data: bytes) -> bytes:
        begin, end = self._span(data)
        return data[:begin] + data[end:]

    def _repeat_span(self, data: bytes) -> bytes:
        begin, end = self._span(data)
        times = self._rng.choice((2, 2, 3, 10, 50))
        return (data[:begin] + data[begin:end] * times + data[end:])[:MAX_LONG]

    def _move_span(self, data: bytes) -> bytes:
        begin, end = self._span(data)
        rest = data[:begin] + data[end:]
        place = self._place(rest)
        return rest[:place] + data[begin:end] + rest[place:]

    def _repeat_line(self, data: bytes) -> bytes:
        begin, end = self._line(data)
        place = self._line(data)[0]
        return data[:place] + data[begin:end] + data[place:]

    def _remove_line(self, data: bytes) -> bytes:
        begin, end = self._line(data)
        return data[:begin] + data[end:]

    def _replace_line(self, data: bytes) -> bytes:
        begin, end = self._line(data)
        ending = b"\r\n" if data[begin:end].endswith(b"\r\n") else b"\n"
        kept = end if self._rng.random() < 0.5 else begin
        return data[:begin] + self._rng.choice(self._tokens) + ending + data[kept:]

    def _splice(self, data: bytes) -> bytes:
        other = self._rng.choice(self._seeds)
        return data[: self._place(data)] + other[self._place(other) :]

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _lengthen(self, data: bytes) -> bytes:
        """Repeat a short span until the input is long."""
        begin, end = self._span(data)
        span = data[begin:end][:_SPAN] or self._rng.choice(self._tokens) or b" "
        return data[:begin] + span * (MAX_LONG // len(span)) + data[end:]
