"""Where the table appears: redrawn in place on a terminal, line by line on a pipe.

Knows terminals and streams; does not know what is drawn (`table`). Changes nothing outside the
stream it was given, and leaves a terminal as it found it.
"""

import os
from collections.abc import Mapping
from typing import Final, Protocol, Self, TextIO

from mcp_proxy_exporter.demo.table import View, render_addresses, render_frame, render_lines

# ECMA-48 and xterm control sequences. The picture has the alternate screen for itself: what the
# user had in the terminal before is there again afterwards.
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_ERASE_LINE_END: Final = "\x1b[K"
_ERASE_BELOW: Final = "\x1b[J"

DEFAULT_SIZE: Final = os.terminal_size((80, 24))
"""For streams that know no size: the VT100's."""


class Display(Protocol):
    """Shows views from entering to leaving, and one more, the last, after it."""

    interval: float
    """Seconds between two views that suit this display."""

    def __enter__(self) -> Self:
        """Begin."""
        ...  # pragma: no cover - a protocol has no body

    def __exit__(self, *_exception: object) -> None:
        """Put everything back."""
        ...  # pragma: no cover - a protocol has no body

    def show(self, view: View) -> None:
        """Show a view instead of, or after, the one before."""
        ...  # pragma: no cover - a protocol has no body

    def conclude(self, view: View) -> None:
        """Leave the last view for the reader; called outside of the context."""
        ...  # pragma: no cover - a protocol has no body


class Terminal:
    """A terminal that understands control sequences: one picture, redrawn without flicker."""

    interval = 0.5

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour

    def __enter__(self) -> Self:
        self._write(_ENTER)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._write(_LEAVE)

    def show(self, view: View) -> None:
        """Draw over the picture before, in one write."""
        size = self._measure()
        # The last column stays free: a full line's erasure would take its last character along.
        # The last line stays free: a newline there would scroll.
        frame = render_frame(view, width=size.columns - 1, colour=self._colour)
        lines = frame.splitlines()[: size.lines - 1]
        body = "".join(f"{line}{_ERASE_LINE_END}\n" for line in lines)
        self._write(_HOME + body + _ERASE_BELOW)

    def conclude(self, view: View) -> None:
        """Print the last picture like any program's output."""
        self._write(render_frame(view, width=self._measure().columns - 1, colour=self._colour))

    def _measure(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return DEFAULT_SIZE
        # Pseudo-terminals without a size say 0 x 0.
        return size if size.columns and size.lines else DEFAULT_SIZE

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Pipe:
    """Anything else: plain lines without control sequences, flushed as they come."""

    interval = 1.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._introduced = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def show(self, view: View) -> None:
        """Append the view's lines; the first ones after the addresses."""
        if not self._introduced:
            self._stream.write(render_addresses(view))
            self._introduced = True
        self._stream.write(render_lines(view))
        self._stream.flush()

    def conclude(self, view: View) -> None:
        """Append the last view as a table."""
        self._stream.write("\n" + render_frame(view, width=DEFAULT_SIZE.columns, colour=False))
        self._stream.flush()


def choose_display(stream: TextIO, environment: Mapping[str, str]) -> Display:
    """Choose by the stream, ``TERM`` and ``NO_COLOR`` (any value but none, says no-color.org)."""
    if not stream.isatty() or environment.get("TERM", "dumb") == "dumb":
        return Pipe(stream)
    return Terminal(stream, colour=not environment.get("NO_COLOR"))
