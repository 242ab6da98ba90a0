"""`demo`: the cats, their clients, a proxy between them and a table of what it saw."""

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from mcp_proxy_exporter.commands.common import EXIT_OK, Commands, fail

if TYPE_CHECKING:
    from mcp_proxy_exporter.config import Settings
    from mcp_proxy_exporter.demo.stage import RunningProxy


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("demo", help="watch an example server with calls and metrics")
    parser.set_defaults(command=_demo)
    parser.add_argument(
        "--duration", metavar="SECONDS", type=_seconds, help="default: until Ctrl-C"
    )


def _demo(arguments: argparse.Namespace) -> int:
    from mcp_proxy_exporter.app import StartError, run  # noqa: PLC0415  # slow to load

    try:
        return run(_perform(arguments.duration), log_level="warning")
    except StartError as error:
        return fail(str(error))
    except OSError as error:
        # `demo | head`, or a full disk: what is still buffered must not be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK if isinstance(error, BrokenPipeError) else fail(str(error))
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


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of seconds")
    return seconds
