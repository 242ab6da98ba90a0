"""What file, environment and command line say, one over the other, each with its place.

Knows how settings are written down; does not know which are right (`models`, `servers`).
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from mcp_proxy_exporter.config.errors import Place, Problem, fields_at, kind_at, shown, suggest
from mcp_proxy_exporter.config.locate import locate
from mcp_proxy_exporter.config.models import Settings
from mcp_proxy_exporter.config.section import KeyPath
from mcp_proxy_exporter.config.servers import ServerSettings

# Two underscores: Kubernetes sets MCP_PROXY_EXPORTER_PORT and more for a service of this name.
PREFIX = "MCP_PROXY_EXPORTER__"
DELIMITER = "__"
_SHORT_PREFIX = "MCP_PROXY_EXPORTER_"

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

_SCALARS = (bool, int, float)
"""What a variable can only say by a text, while a file has to mean it."""

_ARRAYS_AND_TABLES = (tuple, Mapping)

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
    for name in sorted(name for name in os.environ if os.environ[name]):
        if name.startswith(PREFIX):
            layer = overlay(layer, _read_variable(source, name, os.environ[name]))
        elif name.startswith(_SHORT_PREFIX):
            layer = overlay(layer, _doubt(name))
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


def _doubt(name: str) -> Layer:
    """Take a variable that is almost one of ours: a problem where it is meant to be one."""
    tables = [(table, key) for table in fields_at(()) for key in fields_at((table,))]
    servers = [(key,) for key in ServerSettings.model_fields]
    meant = name.removeprefix(_SHORT_PREFIX).replace(DELIMITER, "_")
    for path in (*servers, *tables):
        right = DELIMITER.join(path).upper()
        if right.replace(DELIMITER, "_") == meant:
            message = f"is not read: did you mean {PREFIX}{right}, with two underscores?"
            return _refuse(Place(1, 0, name, names_setting=True), message)
    return Layer()


def _read_variable(source: EnvSettingsSource, name: str, text: str) -> Layer:
    place = Place(1, 0, name, names_setting=True)
    key = name.removeprefix(PREFIX).lower()
    parts = key.split(DELIMITER)
    is_server = parts[0] in ServerSettings.model_fields
    around: KeyPath = ("servers", 0) if is_server else ()
    array = _find_array(around, parts)
    if array:
        return _refuse(place, _word_array(array, parts))
    key = f"only_server{DELIMITER}{key}" if is_server else key
    # One variable at a time, so that each error can be told with the variable's name.
    source.env_vars = {key: text}
    values: dict[Any, Any]
    try:
        values = source()
        _read_leaf(values, key.split(DELIMITER), kind_at((*around, *parts)))
    except (SettingsError, json.JSONDecodeError, RecursionError):
        return _refuse(place, "must be JSON, because an array or a table is set here")
    if not values:
        return _refuse(place, suggest(shown(parts[0])))
    if is_server:
        values = {ONLY_SERVER: values["only_server"]}
    return _placed(values, place, depth=len(key.split(DELIMITER)))


def _read_leaf(values: dict[Any, Any], path: list[str], kind: Any) -> None:
    """Read what the source has left a text although the setting is none."""
    *around, last = path
    table: Any = values
    for key in around:
        table = table.get(key) if isinstance(table, dict) else None
    text = table.get(last) if isinstance(table, dict) else None
    if not isinstance(text, str):
        return
    if kind in _SCALARS:
        # What is no such value is complained about by whoever checks all of them.
        with suppress(ValidationError):
            table[last] = TypeAdapter(kind).validate_python(text)
    elif get_origin(kind) in _ARRAYS_AND_TABLES or (
        isinstance(kind, type) and issubclass(kind, BaseModel)
    ):
        # Below a map, whose keys the source does not know.
        table[last] = json.loads(text)


def _find_array(around: KeyPath, parts: list[str]) -> list[str]:
    """Find the array that a path leads into; there is no setting for one element."""
    for length in range(1, len(parts)):
        if get_origin(kind_at((*around, *parts[:length]))) is tuple:
            return parts[:length]
    return []


def _word_array(array: list[str], parts: list[str]) -> str:
    whole = PREFIX + DELIMITER.join(array).upper()
    message = f"is within an array: {whole} must be a JSON array"
    wanted = parts[len(array) + 1 :]
    if array == ["servers"] and wanted:
        only = PREFIX + DELIMITER.join(wanted).upper()
        message += f"; to set the only server use {only}"
    return message


def _refuse(place: Place, message: str) -> Layer:
    return Layer(problems=(Problem(place, "", message),))


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
