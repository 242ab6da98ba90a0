"""Server-sent events out of bytes: the parsing algorithm of WHATWG HTML section 9.2.6.

Knows lines, fields and the dispatch of events; does not know JSON or MCP, nor who reconnects. Bytes
stay bytes: the data are JSON, whose decoder judges their UTF-8.

An event whose data exceed the limit is dropped up to its end and then reported once, with None
for its data; the stream goes on.
"""

import re
from collections.abc import Sequence
from itertools import count
from typing import Final, NamedTuple

import msgspec

# Event types and ids are compared or held, never shown. Real ids are opaque cursors of less than
# 100 bytes; a longer one is cut.
MAX_FIELD: Final = 1_024
# The last ids of a stream: what was sent and did not reach the client any more is little.
MAX_IDS: Final = 32
# Milliseconds, as digits: above, nobody would come back.
_MAX_DIGITS: Final = 8
# What can precede a value in its line: a byte order mark and "event: ".
_PREFIX: Final = 10

_BOM: Final = b"\xef\xbb\xbf"
_LF: Final = 0x0A
_CR: Final = 0x0D
_LINE_ENDS: Final = (_LF, _CR)


# The body of most answers to calls: one message event, its data in one line. Data that begin with
# a space are left to the decoder: of "data: " the space is no data. No line may match in two ways:
# where nothing follows, each would double the time.
_SINGLE_MESSAGE: Final = re.compile(
    rb"(?:(?:event: ?message|id:[^\r\n\x00]*)(?:\r\n|\n))*"
    rb"data: ?([^\r\n ][^\r\n]*)(?:\r\n\r\n|\n\n)"
)


_numbers: Final = count(1)


class Retry(NamedTuple):
    """How long a client is asked to wait before it comes back; what was asked later is greater."""

    number: int
    """Of all that was asked on any stream."""
    seconds: float


NO_RETRY: Final = Retry(0, 0.0)
"""Nothing was asked."""


class ServerSentEvent(msgspec.Struct, gc=False, frozen=True):
    """One dispatched event."""

    type: bytes
    """The last ``event`` field; empty where there was none, which means ``message``."""
    data: bytes | bytearray | None
    """The ``data`` fields joined by line feeds; None if they exceeded the limit."""


def read_single_message(body: bytes) -> bytes | None:
    """Return the data of a whole body that is one message event on one line; None if it is not."""
    message = _SINGLE_MESSAGE.fullmatch(body)
    return None if message is None else message[1]


class EventStreamDecoder(msgspec.Struct, eq=False, gc=False):
    """Turns the chunks of one ``text/event-stream`` body into events."""

    _max_data: int
    """Bytes of data of one event; at most twice as much is held."""
    last_event_id: bytes = b""
    """The id that a client would resume from; empty while there is none."""
    event_ids: tuple[bytes, ...] = ()
    """The last ids, each a place that a client may resume from; the newest is last."""
    retry: Retry = NO_RETRY
    """How long the client is asked to wait before it comes back."""

    # The event in the making:
    _type: bytes = b""
    _id: bytes = b""
    _data: bytes | bytearray | None = None
    _overlong: bool = False

    # The line in the making:
    _line: bytearray | None = None
    _skip_line: bool = False  # its rest is dropped
    _skip_lf: bool = False  # the one before ended in CR, to which a following LF belongs
    _started: bool = False  # one was seen: no byte order mark can follow

    @property
    def buffered(self) -> int:
        """Bytes held."""
        return len(self._data or b"") + len(self._line or b"")

    def feed(self, data: bytes) -> Sequence[ServerSentEvent]:
        """Take the next bytes of the body; give the events that they complete."""
        if self._skip_lf and data:
            self._skip_lf = False
            if data[0] == _LF:
                data = data[1:]
        if not data:
            return ()
        last = data[-1]
        if last in _LINE_ENDS:
            self._skip_lf = last == _CR
            return self._take_lines(self._split(data))
        if b"\n" not in data and b"\r" not in data:
            self._extend_line(data)
            return ()
        lines = self._split(data)
        unfinished = lines.pop()
        events = self._take_lines(lines)
        self._extend_line(unfinished)
        return events

    def drop(self) -> None:
        """Free what is held. The event in the making then counts as too large."""
        if self._line is not None:
            self._cut_line()
        self._data = None
        self._overlong = True

    def _split(self, data: bytes) -> list[bytes]:
        """Split at the line ends; the first line continues the one in the making."""
        lines = data.splitlines()  # of bytes: at LF, CR and CRLF, as the algorithm wants it
        if self._line is not None:
            lines[0] = bytes(self._line + lines[0])
            self._line = None
        elif self._skip_line:
            self._skip_line = False
            del lines[0]
        return lines

    def _extend_line(self, data: bytes) -> None:
        if self._skip_line:
            return
        if self._line is None:
            self._line = bytearray(data)
        else:
            self._line += data
        if len(self._line) > max(self._max_data, MAX_FIELD) + _PREFIX:
            self._cut_line()

    def _cut_line(self) -> None:
        """Take the line in the making as if it were whole, and drop its rest."""
        line = bytes(self._line or b"")
        self._line = None
        self._skip_line = True
        self._take_lines([line])

    def _take_lines(self, lines: list[bytes]) -> list[ServerSentEvent]:
        events = []
        if not self._started and lines:
            self._started = True
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if line[:6] == b"data: ":
                self._take_data(line[6:])
            elif not line:
                if self._data is not None or self._overlong:
                    events.append(ServerSentEvent(self._type, self._data))
                    self._data = None
                    self._overlong = False
                self._type = b""
                if self._id != self.last_event_id:
                    self._take_id()
            elif line == b"event: message":
                self._type = b"message"
            else:
                self._take_field(line)
        return events

    def _take_data(self, value: bytes) -> None:
        held = self._data
        size = len(value) if held is None else len(held) + 1 + len(value)
        if self._overlong or size > self._max_data:
            self._overlong = True
            self._data = None
        elif held is None:
            self._data = value
        else:
            self._data = joined = held if type(held) is bytearray else bytearray(held)
            joined += b"\n"
            joined += value

    def _take_id(self) -> None:
        """Take the id of a complete event: it is where a client would go on."""
        self.last_event_id = self._id
        if self._id:
            self.event_ids = (*self.event_ids[1 - MAX_IDS :], self._id)

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._take_data(value)
        elif name == b"event":
            self._type = value[:MAX_FIELD]
        elif name == b"id" and b"\0" not in value[:MAX_FIELD]:
            self._id = value[:MAX_FIELD]
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_DIGITS:
            self.retry = Retry(next(_numbers), int(value) / 1000)
