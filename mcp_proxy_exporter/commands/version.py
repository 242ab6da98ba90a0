"""`version`: print the version."""

import argparse

from mcp_proxy_exporter.commands.common import EXIT_OK, Commands, describe_version


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("version", help="print the version and exit")
    parser.set_defaults(command=_show_version)


def _show_version(_arguments: argparse.Namespace) -> int:
    print(describe_version())  # noqa: T201
    return EXIT_OK
