"""Content codings taken off one body, within what inspection may hold.

Knows the budget that pays for decoders, and what is too much; does not know what the bytes mean. A
decoder is dropped as soon as nothing more can be read, and what it held is given back.
"""

from typing import Final

import msgspec

from mcp_proxy_exporter.protocol.encoding import (
    BrokenCodingError,
    ContentDecoder,
    ExpansionError,
    UnknownCodingError,
    codings_of,
)
from mcp_proxy_exporter.protocol.jsonrpc import TOO_LARGE, Malformed
from mcp_proxy_exporter.protocol.limits import Budget

UNKNOWN_CODING: Final = Malformed("content_encoding")
BROKEN_CODING: Final = Malformed("stream_broken")

PART: Final = 16 * 1024
"""Bytes of events handed out at once: a slice of a body that nobody compressed."""


class Unpacker(msgspec.Struct, eq=False, gc=False):
    """Takes the codings off one body. `close` ends it; so does a problem, which is told once."""

    _budget: Budget
    _coding: ContentDecoder | None
    """None once it is over."""
    _problem: Malformed | None = None
    """What is to be told of the first bytes."""
    _paid: int = 0
    _rest: bytes = b""
    _at: int = 0
    """How far the rest was handed out."""

    @property
    def unfinished(self) -> bool:
        """Whether a rest is to be handed out."""
        return len(self._rest) > 0

    def unpack(self, data: bytes, room: int) -> bytes | Malformed:
        """Decode the next bytes, of which at least one."""
        coding = self._coding
        if coding is None:
            problem, self._problem = self._problem, None
            return problem or b""
        try:
            decoded = coding.decode(data, room)
        except BrokenCodingError:
            return self._stop(BROKEN_CODING)
        except ExpansionError:
            return self._stop(TOO_LARGE)
        return decoded if self._pay(coding.held + len(self._rest)) else self._stop(TOO_LARGE)

    def unpack_part(self, data: bytes, room: int) -> bytes | Malformed:
        """Decode the next bytes, if any, and hand out the next part of what was decoded.

        Looking at events may cost many times what decoding them does. No more than `room` waits.
        """
        if data:
            decoded = self.unpack(data, room - len(self._rest))
            if isinstance(decoded, Malformed) or (not self._rest and len(decoded) <= PART):
                return decoded
            if not self._pay(self._paid + len(decoded)):
                return self._stop(TOO_LARGE)
            self._rest += decoded
        part = self._rest[self._at : self._at + PART]
        self._at += PART
        if self._at >= len(self._rest):
            self._pay(self._paid - len(self._rest))
            self._rest, self._at = b"", 0
        return part

    def close(self) -> None:
        """Free what is held."""
        self._coding = None
        self._rest = b""
        self._pay(0)

    def _stop(self, problem: Malformed) -> Malformed:
        self.close()
        return problem

    def _pay(self, amount: int) -> bool:
        """Bring what was taken from the budget to an amount, if it is there."""
        growth = amount - self._paid
        if growth < 0:
            self._budget.give(-growth)
        elif not self._budget.take(growth):
            return False
        self._paid = amount
        return True


def open_unpacker(content_encoding: bytes, budget: Budget) -> Unpacker | None:
    """Begin a body of such a ``Content-Encoding``; None if that is none."""
    codings = codings_of(content_encoding)
    if not codings:
        return None
    try:
        return Unpacker(budget, ContentDecoder(codings))
    except UnknownCodingError:
        return Unpacker(budget, None, UNKNOWN_CODING)
