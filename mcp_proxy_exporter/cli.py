"""The command line: arguments in, exit code out.

Knows commands, flags and what is printed where; does not know how anything is done. What a command
needs is imported when it runs: the settings and the HTTP library take longer to load than some
commands take to run.
"""

import argparse
import contextlib
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_proxy_exporter import __version__

if TYPE_CHECKING:
    from mcp_proxy_exporter.config import Settings
    from mcp_proxy_exporter.demo.stage import RunningProxy

PROGRAM = "mcp-proxy-exporter"

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
"""A wrong configuration or command line; argparse uses the same."""

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
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="proxy one or more MCP servers and expose metrics")
    run.set_defaults(command=_run)
    run.add_argument("--config", metavar="FILE", type=Path, help="read settings from a TOML file")
    settings = run.add_argument_group("one server, without or over a file")
    settings.add_argument("--upstream", metavar="URL", help="the MCP server, without a path")
    settings.add_argument("--listen", metavar="ADDRESS", help="where clients come in")
    settings.add_argument("--name", metavar="NAME", help="the label `server` of its metrics")
    others = run.add_argument_group("others")
    others.add_argument("--admin", metavar="ADDRESS", help="where metrics are served")
    others.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")

    check = commands.add_parser("check", help="check a configuration file and exit")
    check.set_defaults(command=_check)
    check.add_argument("--config", metavar="FILE", type=Path, required=True)
    check.add_argument(
        "--call", metavar="FILE", type=Path, help="show what custom metrics make of a recorded call"
    )

    demo = commands.add_parser("demo", help="watch an example server with calls and metrics")
    demo.set_defaults(command=_demo)
    demo.add_argument("--duration", metavar="SECONDS", type=_seconds, help="default: until Ctrl-C")

    version = commands.add_parser("version", help="print the version and exit")
    version.set_defaults(command=_show_version)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    flags = {
        f"--{name.replace('_', '-')}": value
        for name, value in vars(arguments).items()
        if name not in {"command", "config"} and value is not None
    }
    settings = _load(arguments.config, flags)
    if settings is None:
        return EXIT_USAGE

    from mcp_proxy_exporter.app import StartError, run, serve  # noqa: PLC0415  # slow to load

    try:
        return run(serve(settings, announce=_announce), log_level=settings.log.level)
    except StartError as error:
        return _fail(str(error))


def _check(arguments: argparse.Namespace) -> int:
    settings = _load(arguments.config, {})
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


def _show_version(_arguments: argparse.Namespace) -> int:
    print(_version())  # noqa: T201
    return EXIT_OK


def _demo(arguments: argparse.Namespace) -> int:
    from mcp_proxy_exporter.app import StartError, run  # noqa: PLC0415  # slow to load

    try:
        return run(_perform(arguments.duration), log_level="warning")
    except StartError as error:
        return _fail(str(error))
    except OSError as error:
        # `demo | head`, or a full disk: what is still buffered must not be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK if isinstance(error, BrokenPipeError) else _fail(str(error))
    except KeyboardInterrupt:
        return EXIT_OK


async def _perform(duration: float | None) -> int:
    import asyncio  # noqa: PLC0415  # slow to load
    import signal  # noqa: PLC0415  # of no use without asyncio

    from mcp_proxy_exporter.demo.stage import perform  # noqa: PLC0415  # slow to load

    performance = asyncio.ensure_future(
        perform(_start_demo_proxy, output=sys.stdout, duration=duration)
    )
    # SIGTERM must give the terminal back, as Ctrl-C does.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, performance.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await performance
    return EXIT_OK


async def _start_demo_proxy(upstream: str) -> "RunningProxy":
    from mcp_proxy_exporter.app import Service  # noqa: PLC0415  # slow to load
    from mcp_proxy_exporter.demo.stage import RunningProxy  # noqa: PLC0415  # slow to load

    service = Service(_build_demo_settings(upstream))
    await service.start()
    [url] = service.addresses("cats")
    return RunningProxy(url=url, admin_url=service.admin_url, stop=service.stop)


def _build_demo_settings(upstream: str) -> "Settings":
    import tomllib  # noqa: PLC0415  # of use here only
    from importlib.resources import files  # noqa: PLC0415  # the same

    from mcp_proxy_exporter.config import (  # noqa: PLC0415  # slow to load
        AdminSettings,
        MetricsSettings,
        ServerSettings,
        Settings,
        TimeoutSettings,
    )

    written = tomllib.loads((files("mcp_proxy_exporter.demo") / "cats.toml").read_text())
    listen = _default_or_any(ServerSettings.model_fields["listen"].default)
    return Settings(
        servers=(ServerSettings(name="cats", listen=listen, upstream=upstream),),
        admin=AdminSettings(listen=_default_or_any(AdminSettings().listen)),
        metrics=MetricsSettings.model_validate(written["metrics"]),
        # The clients are gone before the proxy stops: there is nothing to wait for.
        timeouts=TimeoutSettings(drain=1),
    )


def _default_or_any(listen: str) -> str:
    """Give an address, or the same with port 0 where the port is taken."""
    import socket  # noqa: PLC0415  # comes with asyncio

    host, _, port = listen.rpartition(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError:
        return f"{host}:0"
    return listen


def _load(file: Path | None, flags: dict[str, str]) -> "Settings | None":
    """Load the settings; None where they are wrong, once everything that is wrong is printed."""
    from mcp_proxy_exporter.config import ConfigError, load  # noqa: PLC0415  # slow to load
    from mcp_proxy_exporter.observe.metrics import review  # noqa: PLC0415  # slow to load

    try:
        return load(file, flags, review=review)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return None


def _announce(line: str) -> None:
    # Nobody needs to read this: a closed pipe must not end a proxy.
    with contextlib.suppress(OSError):
        print(line, flush=True)  # noqa: T201


def _fail(message: str) -> int:
    print(f"{PROGRAM}: {message}", file=sys.stderr)  # noqa: T201
    return EXIT_FAILED


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of seconds")
    return seconds


def _version() -> str:
    return f"{PROGRAM} {__version__} (Python {platform.python_version()})"
