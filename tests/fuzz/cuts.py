"""How an input is cut into the pieces in which a socket may bring it."""

from collections.abc import Sequence
from itertools import pairwise
from zlib import crc32

from tests.fuzz.mutation import random_of

_MAX_CUTS = 8
_SHORT = 400
"""Bytes that may come one by one."""


def cut(data: bytes, kind: int = 0) -> Sequence[bytes]:
    """Return the pieces, none of them empty: of the same bytes always the same."""
    rng = random_of(crc32(data), kind)
    size = len(data)
    if size <= _SHORT and rng.random() < 0.3:
        return [data[place : place + 1] for place in range(size)]
    places = sorted({rng.randrange(size + 1) for _ in range(rng.randrange(1, _MAX_CUTS))})
    return [data[a:b] for a, b in pairwise([0, *places, size]) if a < b]
