"""`rules`: print Prometheus rules for the objectives of a configuration."""

import argparse
import sys
from pathlib import Path

from mcp_proxy_exporter.commands.common import EXIT_OK, EXIT_USAGE, Commands, load_settings


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("rules", help="print Prometheus rules for [[slo]] of a file")
    parser.set_defaults(command=_print_rules)
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="without it, the rules that come with the code"
    )


def _print_rules(arguments: argparse.Namespace) -> int:
    from mcp_proxy_exporter.slo import DEFAULT_SLOS, render_rules  # noqa: PLC0415  # slow to load

    if arguments.config is None:
        print(render_rules(DEFAULT_SLOS), end="")  # noqa: T201
        return EXIT_OK
    settings = load_settings(arguments.config, {})
    if settings is None:
        return EXIT_USAGE
    if not settings.slo:
        print(f"{arguments.config}: has no [[slo]]", file=sys.stderr)  # noqa: T201
        return EXIT_USAGE
    print(render_rules(settings.slo), end="")  # noqa: T201
    return EXIT_OK
