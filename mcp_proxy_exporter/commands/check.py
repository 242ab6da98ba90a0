"""`check`: find what is wrong in a configuration, or show what it makes of a recorded call."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_proxy_exporter.commands.common import EXIT_OK, EXIT_USAGE, Commands, load_settings

if TYPE_CHECKING:
    from mcp_proxy_exporter.config import Settings


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("check", help="check a configuration file and exit")
    parser.set_defaults(command=_check)
    parser.add_argument("--config", metavar="FILE", type=Path, required=True)
    parser.add_argument(
        "--call", metavar="FILE", type=Path, help="show what custom metrics make of a recorded call"
    )


def _check(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config, {})
    if settings is None:
        return EXIT_USAGE
    if arguments.call is not None:
        return _check_call(settings, arguments.call)
    count = len(settings.servers)
    print(f"{arguments.config}: ok, {count} server{'' if count == 1 else 's'}")  # noqa: T201
    return EXIT_OK


def _check_call(settings: "Settings", file: Path) -> int:
    from mcp_proxy_exporter.app import rehearse_call  # noqa: PLC0415  # slow to load
    from mcp_proxy_exporter.observe.rehearsal import WrongRecord  # noqa: PLC0415  # slow to load

    try:
        shown = rehearse_call(settings, file.read_bytes())
    except OSError as error:
        print(f"{file}: {(error.strerror or 'cannot be read').lower()}", file=sys.stderr)  # noqa: T201
        return EXIT_USAGE
    except WrongRecord as error:
        print(f"{file}: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_USAGE
    print(shown, end="")  # noqa: T201
    return EXIT_OK
