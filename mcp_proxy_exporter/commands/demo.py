"""`demo`: the cats, their clients, a proxy between them and a table of what it saw.

`demo server` and `demo clients` are the two ends alone, for where the proxy runs by itself: in a
container, in a pod, on another machine.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from mcp_proxy_exporter.commands.common import EXIT_OK, Commands, announce, fail, seconds

if TYPE_CHECKING:
    from mcp_proxy_exporter.config import Settings, TcpAddress
    from mcp_proxy_exporter.demo.stage import RunningProxy

DEFAULT_LISTEN = "127.0.0.1:3001"
"""Where the documentation's examples look for an MCP server."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("demo", help="watch an example server with calls and metrics")
    parser.set_defaults(command=_demo)
    parser.add_argument("--duration", metavar="SECONDS", type=seconds, help="default: until Ctrl-C")
    parts = parser.add_subparsers(metavar="PART", title="one end alone")
    server = parts.add_parser("server", help="the cats' MCP server, without a proxy")
    server.set_defaults(command=_serve_cats)
    server.add_argument(
        "--listen",
        metavar="ADDRESS",
        type=_address,
        default=DEFAULT_LISTEN,
        help="default: %(default)s",
    )
    clients = parts.add_parser("clients", help="clients that call the cats at a URL")
    clients.set_defaults(command=_run_clients)
    clients.add_argument("url", metavar="URL", type=_origin, help="such as http://127.0.0.1:8080")


def _demo(arguments: argparse.Namespace) -> int:
    from mcp_proxy_exporter.demo.stage import perform  # noqa: PLC0415  # slow to load

    performance = perform(_start_demo_proxy, output=sys.stdout, duration=arguments.duration)
    try:
        return _run(performance)
    except OSError as error:
        # `demo | head`, or a full disk: what is still buffered must not be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK if isinstance(error, BrokenPipeError) else fail(str(error))


def _serve_cats(arguments: argparse.Namespace) -> int:
    from mcp_proxy_exporter.app import explain  # noqa: PLC0415  # slow to load
    from mcp_proxy_exporter.demo.service import serve_cats  # noqa: PLC0415  # slow to load

    listen: TcpAddress = arguments.listen
    cats = serve_cats(listen.host, listen.port, announce=announce)
    try:
        return _run(cats, duration=arguments.duration)
    except OSError as error:
        return fail(f"cannot listen on {listen}: {explain(error)}")


def _run_clients(arguments: argparse.Namespace) -> int:
    from mcp_proxy_exporter.demo.service import call_cats  # noqa: PLC0415  # slow to load

    return _run(call_cats(arguments.url, announce=announce), duration=arguments.duration)


def _run(play: Coroutine[Any, Any, None], *, duration: float | None = None) -> int:
    from mcp_proxy_exporter.app import StartError, run  # noqa: PLC0415  # slow to load

    try:
        return run(_until_stopped(play, duration), log_level="warning")
    except StartError as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return EXIT_OK


async def _until_stopped(play: Coroutine[Any, Any, None], duration: float | None) -> int:
    import asyncio  # noqa: PLC0415  # slow to load
    import signal  # noqa: PLC0415  # of no use without asyncio

    loop = asyncio.get_running_loop()
    playing = asyncio.ensure_future(play)
    # SIGTERM must give the terminal back, as Ctrl-C does; and the first process of a container has
    # no default that would end it.
    loop.add_signal_handler(signal.SIGTERM, playing.cancel)
    if duration is not None:
        loop.call_later(duration, playing.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await playing
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


def _address(text: str) -> "TcpAddress":
    from mcp_proxy_exporter.config.address import parse_tcp  # noqa: PLC0415  # slow to load

    try:
        return parse_tcp(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _origin(text: str) -> str:
    from mcp_proxy_exporter.config.address import parse_upstream  # noqa: PLC0415  # slow to load

    try:
        upstream = parse_upstream(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    origin = str(upstream)
    if origin.startswith("unix:"):
        raise argparse.ArgumentTypeError("must start with http:// or https://")
    return origin
