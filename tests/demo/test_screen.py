"""Terminals and pipes."""

import io
import os
import pty
import termios
from collections.abc import Iterator
from dataclasses import replace
from typing import TextIO

import pytest

from mcp_proxy_exporter.demo.figures import Row
from mcp_proxy_exporter.demo.screen import Pipe, Terminal, choose_display
from mcp_proxy_exporter.demo.table import View, render_frame, render_lines

VIEW = View(
    proxy_url="http://127.0.0.1:8080/mcp",
    metrics_url="http://127.0.0.1:9464/metrics",
    index_url="http://127.0.0.1:9464/",
    rows=[Row(tool="nap", calls=4, error_share=0.5, in_flight=1, rate=1, p50=1, p95=2)],
    elapsed=2,
    window=2,
)


class FakeTerminal(io.StringIO):
    """A stream that says it is a terminal, of unknown size."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal() -> Iterator[tuple[int, TextIO]]:
    """A pseudo-terminal: the end a user looks at, and the stream the program writes to."""
    watched, written = pty.openpty()
    with os.fdopen(written, "w", encoding="ascii") as stream:
        yield watched, stream
    os.close(watched)


@pytest.mark.parametrize(
    ("environment", "colour"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ],
)
def test_no_color_is_respected(environment: dict[str, str], *, colour: bool) -> None:
    stream = FakeTerminal()
    with choose_display(stream, environment) as display:
        display.show(VIEW)

    assert ("\x1b[31m" in stream.getvalue()) is colour
    assert "nap" in stream.getvalue()


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}])
def test_a_terminal_that_understands_nothing_is_treated_as_a_pipe(
    environment: dict[str, str],
) -> None:
    assert isinstance(choose_display(FakeTerminal(), environment), Pipe)


def test_a_stream_that_is_no_terminal_is_a_pipe() -> None:
    assert isinstance(choose_display(io.StringIO(), {"TERM": "xterm"}), Pipe)


def test_a_picture_is_drawn_over_the_one_before() -> None:
    stream = FakeTerminal()
    display = Terminal(stream, colour=False)
    with display:
        display.show(VIEW)
        display.show(VIEW)

    enter, first, second = stream.getvalue().split("\x1b[H")
    assert enter == "\x1b[?1049h\x1b[?25l"
    assert second == first + "\x1b[?25h\x1b[?1049l"
    assert first.endswith("\x1b[J")
    assert first.count("\x1b[K\n") == len(render_frame(VIEW, width=79, colour=False).splitlines())


def test_the_cursor_and_the_old_contents_come_back_after_an_error() -> None:
    stream = FakeTerminal()
    display = Terminal(stream, colour=False)

    with pytest.raises(RuntimeError), display:
        raise RuntimeError

    assert stream.getvalue().endswith("\x1b[?25h\x1b[?1049l")


def test_the_last_picture_is_ordinary_output() -> None:
    stream = FakeTerminal()
    Terminal(stream, colour=False).conclude(VIEW)

    assert stream.getvalue() == render_frame(VIEW, width=79, colour=False)


def test_the_picture_fits_the_terminal(terminal: tuple[int, TextIO]) -> None:
    watched, stream = terminal
    termios.tcsetwinsize(stream.fileno(), (5, 30))

    Terminal(stream, colour=False).show(VIEW)

    drawn = os.read(watched, 65536).decode()
    lines = drawn.removeprefix("\x1b[H").removesuffix("\x1b[J").split("\x1b[K\r\n")
    assert lines == [*(line[:29] for line in _draw_plain().splitlines()[:4]), ""]


def test_a_terminal_without_a_size_is_taken_for_80_by_24(terminal: tuple[int, TextIO]) -> None:
    watched, stream = terminal
    termios.tcsetwinsize(stream.fileno(), (0, 0))

    Terminal(stream, colour=False).conclude(VIEW)

    assert os.read(watched, 65536).decode().replace("\r\n", "\n") == _draw_plain()


def _draw_plain() -> str:
    return render_frame(VIEW, width=79, colour=False)


def test_a_pipe_gets_addresses_once_and_lines_without_control_sequences() -> None:
    stream = io.StringIO()
    pipe = Pipe(stream)
    with pipe:
        pipe.show(VIEW)
        pipe.show(replace(VIEW, elapsed=3))
    pipe.conclude(VIEW)

    text = stream.getvalue()
    assert "\x1b" not in text
    assert text.count("metrics http://127.0.0.1:9464/metrics\n") == 1
    assert render_lines(VIEW) + render_lines(replace(VIEW, elapsed=3)) in text
    assert text.endswith("\n" + render_frame(VIEW, width=80, colour=False))
