"""`run`: proxy one or more MCP servers and expose metrics."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from mcp_proxy_exporter.commands.common import (
    EXIT_OK,
    EXIT_USAGE,
    Commands,
    announce,
    fail,
    load_settings,
    read_settings,
)


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("run", help="proxy one or more MCP servers and expose metrics")
    parser.set_defaults(command=_run)
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="read settings from a TOML file"
    )
    settings = parser.add_argument_group("one server, without or over a file")
    settings.add_argument("--upstream", metavar="URL", help="the MCP server, without a path")
    settings.add_argument("--listen", metavar="ADDRESS", help="where clients come in")
    settings.add_argument("--name", metavar="NAME", help="the label `server` of its metrics")
    others = parser.add_argument_group("others")
    others.add_argument("--admin", metavar="ADDRESS", help="where metrics are served")
    others.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")


def _run(arguments: argparse.Namespace) -> int:
    with _ending_early():
        return _serve(arguments)


def _serve(arguments: argparse.Namespace) -> int:
    flags = {
        f"--{name.replace('_', '-')}": value
        for name, value in vars(arguments).items()
        if name not in {"command", "config"} and value is not None
    }
    settings = load_settings(arguments.config, flags)
    if settings is None:
        return EXIT_USAGE

    from mcp_proxy_exporter.app import StartError, run, serve  # noqa: PLC0415  # slow to load

    try:
        return run(
            serve(
                settings, announce=announce, reread=partial(read_settings, arguments.config, flags)
            ),
            log_level=settings.log.level,
        )
    except StartError as error:
        return fail(str(error))


@contextmanager
def _ending_early() -> Iterator[None]:
    """Obey signals from the first moment: loading the rest takes half a second.

    The kernel drops signals to the first process of a container that it has no handler for, and
    SIGHUP would end any other one. Once the event loop runs it takes over (`app.serve`).
    """
    before = {
        number: signal.signal(number, handler)
        for number, handler in (
            (signal.SIGTERM, _end),
            (signal.SIGINT, _end),
            (signal.SIGHUP, signal.SIG_IGN),
        )
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(EXIT_OK)
