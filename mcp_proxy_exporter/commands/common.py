"""What all commands share: exit codes, loading the settings, what is said and where.

Knows nothing of any one command. What a command needs is imported when it runs: the settings and
the HTTP library take longer to load than some commands take to run.
"""

import argparse
import contextlib
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mcp_proxy_exporter import __version__

if TYPE_CHECKING:
    from mcp_proxy_exporter.config import Settings

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  # has no public name
"""Where a command adds its parser."""

PROGRAM = "mcp-proxy-exporter"

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
"""A wrong configuration or command line; argparse uses the same."""


def load_settings(file: Path | None, flags: dict[str, str]) -> "Settings | None":
    """Load the settings; None where they are wrong, once everything that is wrong is printed."""
    from mcp_proxy_exporter.config import ConfigError  # noqa: PLC0415  # slow to load

    try:
        return read_settings(file, flags)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return None


def read_settings(file: Path | None, flags: dict[str, str]) -> "Settings":
    """Load the settings; raise ConfigError, with all that is wrong."""
    from mcp_proxy_exporter.config import load  # noqa: PLC0415  # slow to load
    from mcp_proxy_exporter.observe.metrics import review  # noqa: PLC0415  # slow to load

    return load(file, flags, review=review)


def announce(line: str) -> None:
    """Print a line for whoever watches the start."""
    # Nobody needs to read this: a closed pipe must not end a proxy.
    with contextlib.suppress(OSError):
        print(line, flush=True)  # noqa: T201


def fail(message: str) -> int:
    """Say why the command ends, and give its exit code."""
    print(f"{PROGRAM}: {message}", file=sys.stderr)  # noqa: T201
    return EXIT_FAILED


def seconds(text: str) -> float:
    """Read a flag's duration; for argparse."""
    try:
        duration = float(text)
    except ValueError:
        duration = 0
    if not 0 < duration < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of seconds")
    return duration


def describe_version() -> str:
    """Give the line that `version` prints."""
    return f"{PROGRAM} {__version__} (Python {platform.python_version()})"
