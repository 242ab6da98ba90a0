"""The command line: arguments in, exit code out.

Knows which commands there are; what each of them does is in `commands`.
"""

import argparse
from collections.abc import Callable, Sequence

from mcp_proxy_exporter.commands import check, dashboards, demo, healthcheck, rules, run, version
from mcp_proxy_exporter.commands.common import PROGRAM, describe_version

EPILOG = """\
exit codes:
  0  done, or stopped by SIGTERM or SIGINT
  1  could not start, or failed while running
  2  the configuration or the command line is wrong
  128 + n  a second signal n ended the process at once
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names and return the exit code.

    Raises SystemExit where the command line is wrong, or asks for help or the version.
    """
    arguments = _build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="A transparent proxy that turns an MCP server's traffic into Prometheus "
        "metrics.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=describe_version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (run, check, healthcheck, rules, dashboards, demo, version):
        command.add(commands)
    return parser
