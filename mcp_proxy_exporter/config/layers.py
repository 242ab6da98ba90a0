"""What file, environment and command line say, one over the other, each with its place.

Knows how settings are written down; does not know which are right (`models`, `servers`).
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic_settings import EnvSettingsSource, SettingsError

from mcp_proxy_exporter.config.errors import Place, Problem, shown, suggest
from mcp_proxy_exporter.config.locate import locate
from mcp_proxy_exporter.config.models import Settings
from mcp_proxy_exporter.config.section import KeyPath
from mcp_proxy_exporter.config.servers import ServerSettings

# Two underscores: Kubernetes sets MCP_PROXY_EXPORTER_PORT and more for a service of this name.
PREFIX = "MCP_PROXY_EXPORTER__"
DELIMITER = "__"

ONLY_SERVER = -1
"""Key of what is said of "the" server, without a list of servers. TOML has string keys only."""

FLAGS: Mapping[str, KeyPath] = {
    "--upstream": (ONLY_SERVER, "upstream"),
    "--listen": (ONLY_SERVER, "listen"),
    "--name": (ONLY_SERVER, "name"),
    "--admin": ("admin", "listen"),
    "--log-level": ("log", "level"),
}
"""The command line's settings."""

_TOML_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one source says, or several laid over each other."""

    values: dict[Any, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


class _Variables(Settings):
    """What variables can say: every setting, and those of the only server at the top."""

    only_server: ServerSettings


def read_file(file: Path) -> Layer:
    """Read a TOML file; what it cannot read becomes the layer's problem."""
    try:
        # As tomllib does it: lines may end with CRLF.
        text = file.read_bytes().decode().replace("\r\n", "\n")
    except OSError as error:
        return _unreadable(file, (error.strerror or "cannot be read").lower())
    except UnicodeDecodeError:
        return _unreadable(file, "is not text in UTF-8")
    try:
        values = tomllib.loads(text)
        lines = locate(text)
    except tomllib.TOMLDecodeError as error:
        return _unreadable(file, *_syntax_error(str(error), text))
    except RecursionError:
        return _unreadable(file, "is not valid TOML: nested too deeply")
    places = {path: _in_file(file, line) for path, line in lines.items()}
    return Layer(values=values, places=places)


def read_environment() -> Layer:
    """Read the variables with our prefix. Empty ones count as not set."""
    source = EnvSettingsSource(
        _Variables, case_sensitive=False, env_prefix="", env_nested_delimiter=DELIMITER
    )
    layer = Layer()
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and os.environ[name]:
            layer = overlay(layer, _read_variable(source, name, os.environ[name]))
    return layer


def read_flags(flags: Mapping[str, str]) -> Layer:
    """Read flags by their names, as `FLAGS` lists them."""
    layer = Layer()
    for name, text in flags.items():
        table, key = FLAGS[name]
        place = Place(2, 0, name, names_setting=True)
        layer = overlay(layer, _placed({table: {key: text}}, place, depth=2))
    return layer


def overlay(low: Layer, high: Layer) -> Layer:
    """Lay `high` over `low`: tables are joined, everything else is replaced."""
    replaced: list[KeyPath] = []
    values = _join(low.values, high.values, (), replaced)
    kept = {
        path: place
        for path, place in low.places.items()
        if not any(path[: len(gone)] == gone for gone in replaced)
    }
    return Layer(
        values=values, places={**high.places, **kept}, problems=low.problems + high.problems
    )


def settle_only_server(layer: Layer) -> Layer:
    """Lay what is said of the only server over the list of servers, if that has at most one."""
    values = dict(layer.values)
    said = values.pop(ONLY_SERVER, None)
    servers = values.get("servers", [])
    is_array = isinstance(servers, list) and all(isinstance(server, dict) for server in servers)
    if said is None or not is_array:
        return replace(layer, values=values)
    places = {path: place for path, place in layer.places.items() if path[0] != ONLY_SERVER}
    moved = {
        ("servers", 0, *path[1:]): place
        for path, place in layer.places.items()
        if path[0] == ONLY_SERVER
    }
    if len(servers) > 1:
        problems = tuple(
            Problem(place, "", f"sets the only server, but there are {len(servers)}")
            for path, place in moved.items()
            if place.names_setting
        )
        return Layer(values=values, places=places, problems=layer.problems + problems)
    values["servers"] = dict(enumerate(servers)) or {0: {}}
    low = replace(layer, values=values, places=places)
    joined = overlay(low, Layer(values={"servers": {0: said}}, places=moved))
    return replace(joined, values={**joined.values, "servers": [joined.values["servers"][0]]})


def _join(
    low: dict[Any, Any], high: dict[Any, Any], path: KeyPath, replaced: list[KeyPath]
) -> dict[Any, Any]:
    joined = dict(low)
    for key, value in high.items():
        here = (*path, key)
        if isinstance(value, dict) and isinstance(low.get(key), dict):
            joined[key] = _join(low[key], value, here, replaced)
        else:
            joined[key] = value
            replaced.append(here)
    return joined


def _read_variable(source: EnvSettingsSource, name: str, text: str) -> Layer:
    place = Place(1, 0, name, names_setting=True)
    key = name.removeprefix(PREFIX).lower()
    first = key.partition(DELIMITER)[0]
    is_server = first in ServerSettings.model_fields
    key = f"only_server{DELIMITER}{key}" if is_server else key
    # One variable at a time, so that each error can be told with the variable's name.
    source.env_vars = {key: text}
    values: dict[Any, Any]
    try:
        values = source()
    except SettingsError:
        message = "must be JSON, because an array or a table is set here"
        return Layer(problems=(Problem(place, "", message),))
    if not values:
        return Layer(problems=(Problem(place, "", suggest(shown(first))),))
    if is_server:
        values = {ONLY_SERVER: values["only_server"]}
    return _placed(values, place, depth=len(key.split(DELIMITER)))


def _placed(values: dict[Any, Any], place: Place, *, depth: int) -> Layer:
    """Give all of `values` one place, which names the setting that is `depth` keys deep."""
    around = replace(place, names_setting=False)
    places = {path: place if len(path) == depth else around for path in _paths(values, ())}
    return Layer(values=values, places=places)


def _paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    items = value.items() if isinstance(value, dict) else ()
    for key, element in enumerate(value) if isinstance(value, list) else items:
        yield (*path, key)
        yield from _paths(element, (*path, key))


def _in_file(file: Path, line: int) -> Place:
    return Place(0, line, f"{file}:{line}" if line else str(file))


def _unreadable(file: Path, message: str, line: int = 0) -> Layer:
    return Layer(problems=(Problem(_in_file(file, line), "", message),))


def _syntax_error(message: str, text: str) -> tuple[str, int]:
    found = _TOML_POSITION.search(message)
    line = int(found[1]) if found and found[1] else text.count("\n") + 1
    return f"is not valid TOML: {_TOML_POSITION.sub('', message).lower()}", line
