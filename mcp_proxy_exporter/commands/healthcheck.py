"""`healthcheck`: ask a running proxy how it is, for container engines that can only run a command.

Finds the admin listener as `run` does: default, file, environment, flag. Loads none of the
product's modules that read settings or speak HTTP: this starts anew every few seconds, next to the
proxy and at its cost, so it has to be done in hundredths of a second.
"""

import argparse
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp_proxy_exporter.commands.common import (
    EXIT_OK,
    EXIT_USAGE,
    Commands,
    announce,
    fail,
    seconds,
)

DEFAULT_ADMIN = "127.0.0.1:10464"
DEFAULT_TIMEOUT = 2.0
"""Seconds. A proxy whose event loop stands still this long needs help."""
PREFIX = "MCP_PROXY_EXPORTER__"

# Where one listens on all interfaces, the loopback is one of them.
_LOOPBACK: Mapping[str, str] = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_LAST_PORT = 65535
_LONGEST_STATUS_LINE = 1024
_SHORTEST_WAIT = 0.001
_OK = b"200"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("healthcheck", help="ask a running proxy whether it is well")
    parser.set_defaults(command=_check_health)
    parser.add_argument("--config", metavar="FILE", type=Path, help="the file that `run` was given")
    parser.add_argument("--admin", metavar="ADDRESS", help="where metrics are served")
    parser.add_argument(
        "--ready",
        action="store_true",
        help="ask whether it takes traffic (/readyz); without, whether it works at all (/livez)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_TIMEOUT,
        help="default: %(default)g",
    )


def _check_health(arguments: argparse.Namespace) -> int:
    try:
        admin = _find_admin(arguments.config, os.environ)
        listen = arguments.admin or str(admin.get("listen", DEFAULT_ADMIN))
        has_tls = bool(_take_table(admin.get("tls", {}), "admin.tls").get("cert_file"))
        host, port = _split(listen)
    except ValueError as error:
        fail(str(error))
        return EXIT_USAGE
    path = "/readyz" if arguments.ready else "/livez"
    try:
        status = _ask(host, port, path, arguments.timeout, has_tls=has_tls)
    except OSError as error:
        return fail(f"no answer from {listen}: {(error.strerror or str(error)).lower()}")
    if status != _OK:
        return fail(f"{listen}{path} answered {status.decode('ascii', 'replace') or 'nothing'}")
    announce("ready" if arguments.ready else "alive")
    return EXIT_OK


def _find_admin(file: Path | None, environment: Mapping[str, str]) -> dict[str, Any]:
    """Give the settings of the admin; raise ValueError, with its place, for what cannot be read."""
    admin = {} if file is None else _read_file(file)
    for name in sorted(environment):
        if not (name.startswith(PREFIX) and environment[name]):
            continue
        setting = name.removeprefix(PREFIX).lower()
        if setting == "admin":
            import json  # noqa: PLC0415  # few need it

            with _telling(name):
                admin |= _take_table(json.loads(environment[name]))
        elif setting == "admin__listen":
            admin["listen"] = environment[name]
        elif setting == "admin__tls__cert_file":
            admin["tls"] = {"cert_file": environment[name]}
    return admin


def _read_file(file: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  # few need it

    with _telling(str(file)):
        return _take_table(tomllib.loads(file.read_bytes().decode()).get("admin", {}))


def _take_table(value: object, name: str = "admin") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name}: must be a table")  # noqa: TRY004  # it is the user's text
    return value


@contextmanager
def _telling(place: str) -> Iterator[None]:
    """Say in which file or variable it is that something is wrong."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{place}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{place}: is not text in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: {error}") from None


def _split(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    # No longer than five digits: int() refuses thousands of them.
    known = port.isascii() and port.isdigit() and len(port) <= len(str(_LAST_PORT))
    if not known or not 0 < int(port) <= _LAST_PORT:
        raise ValueError(f"cannot ask {listen}: its port is not known")
    try:
        # As connecting would, which knows no error for it: labels are short, and none is empty.
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"cannot ask {listen}: that is no name of a host") from None
    return _LOOPBACK.get(host, host), int(port)


def _ask(host: str, port: int, path: str, timeout: float, *, has_tls: bool) -> bytes:
    """Give the status of the answer to a GET, empty where it is none; raise OSError without."""
    deadline = time.monotonic() + timeout
    with _connect(host, port, timeout, has_tls=has_tls) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while b"\n" not in answer and len(answer) < _LONGEST_STATUS_LINE:
            # Not 0, which would mean something else.
            connection.settimeout(max(deadline - time.monotonic(), _SHORTEST_WAIT))
            piece = connection.recv(_LONGEST_STATUS_LINE)
            if not piece:
                break
            answer += piece
    version, _, rest = answer.partition(b" ")
    return rest[: len(_OK)] if version.startswith(b"HTTP/1.") else b""


def _connect(host: str, port: int, timeout: float, *, has_tls: bool) -> socket.socket:
    connection = socket.create_connection((host, port), timeout)
    if not has_tls:
        return connection
    import ssl  # noqa: PLC0415  # few need it

    # Our own process, on our own machine, is told no secret: its certificate is for others, by
    # names that are theirs.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(connection)
    except OSError:
        connection.close()
        raise
