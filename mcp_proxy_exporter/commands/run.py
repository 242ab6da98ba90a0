"""`run`: proxy one or more MCP servers and expose metrics."""

import argparse
from pathlib import Path

from mcp_proxy_exporter.commands.common import (
    EXIT_USAGE,
    Commands,
    announce,
    fail,
    load_settings,
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
        return run(serve(settings, announce=announce), log_level=settings.log.level)
    except StartError as error:
        return fail(str(error))
