"""What is wrong with a configuration, said so that the operator can put it right.

Knows how to word a complaint and what must not be in it; does not know how settings are read or
checked. A complaint never repeats an input that may be secret: no unknown setting's value, no
header, no upstream's URL.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mcp_proxy_exporter.config.models import NO_SERVER, Settings
from mcp_proxy_exporter.config.section import KeyPath

_HEADER_EXAMPLE = ', like { env = "TOKEN", prefix = "Bearer " }'
_MAX_SHOWN = 64
_MAY_BE_SECRET = frozenset({"headers", "upstream", "bearer_token", "basic_auth"})
_ARRAYS_OF_TABLES: frozenset[KeyPath] = frozenset(
    {("servers",), ("metrics", "custom"), ("outcomes", "soft_errors"), ("slo",)}
)
_NO_TABLE = frozenset({"model_type", "model_attributes_type", "dict_type", "mapping_type"})


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a setting was written. Orders as an operator reads: file, environment, flags."""

    rank: int
    line: int
    text: str
    names_setting: bool = False
    """The text names the setting itself, as a variable or flag does."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One complaint."""

    place: Place
    setting: str
    message: str

    def __str__(self) -> str:
        subject = "" if self.place.names_setting or not self.setting else f"{self.setting}: "
        return f"{self.place.text}: {subject}{self.message}"


class ConfigError(Exception):
    """A configuration that cannot be used, with everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def complaints(error: ValidationError) -> Iterator[tuple[KeyPath, str]]:
    """Word each of pydantic's errors: the path of the setting, and a message."""
    for details in error.errors(include_url=False):
        # pydantic marks an error of a mapping's key by a last part of its own.
        path = tuple(part for part in details["loc"] if part != "[key]")
        yield path, _word(details, path)


def spell(path: KeyPath) -> str:
    """Write a path as an operator would: ``servers[0].tls.ca_file``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shown(part)}"
    return text.removeprefix(".")


def shown(text: str) -> str:
    """Cut and escape text that an operator wrote, for one line of a terminal."""
    cut = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
    return cut if cut.isprintable() else ascii(cut)


def suggest(key: str, parent: KeyPath = ()) -> str:
    """Say that `key` is no setting of the table at `parent`, and which one may be meant."""
    siblings = fields_at(parent)
    for near in difflib.get_close_matches(key.lower(), siblings, n=1):
        return f"unknown setting; did you mean `{near}`?"
    # The first table wins: what servers and admin both have is rather the servers'.
    tables = reversed(Settings.model_fields)
    elsewhere = {field: table for table in tables for field in fields_at((table,))}
    for near in difflib.get_close_matches(key.lower(), elsewhere, n=1, cutoff=0.8):
        table = elsewhere[near]
        header = "[[servers]]" if table == "servers" else f"[{table}]"
        return f"unknown setting; did you mean `{near}` of {header}?"
    return f"unknown setting; known here: {', '.join(siblings)}" if siblings else "unknown setting"


def fields_at(path: KeyPath) -> list[str]:
    """List the settings of the table at `path`; none where there is no such table."""
    kind = kind_at(path)
    kind = _element(kind) if get_args(kind) else kind
    is_table = isinstance(kind, type) and issubclass(kind, BaseModel)
    return list(kind.model_fields) if is_table else []


def kind_at(path: KeyPath) -> Any:
    """Give the type of the setting at `path`; None where there is no such setting."""
    kind: Any = Settings
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = _required(field.annotation) if field else None
        else:
            kind = _element(kind)
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
    return kind


def _element(kind: Any) -> Any:
    """Give the element type of ``tuple[X, ...]``, and the value type of ``Mapping[str, X]``."""
    arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
    return arguments[-1] if arguments else None


def _required(kind: Any) -> Any:
    """Give ``X`` of ``X | None``."""
    return get_args(kind)[0] if NoneType in get_args(kind) else kind


def _word(details: ErrorDetails, path: KeyPath) -> str:
    kind = details["type"]
    match kind:
        case "extra_forbidden":
            message = suggest(str(path[-1]), path[:-1])
        case "missing" if path == ("servers",):
            message = NO_SERVER
        case "missing":
            message = "is required"
        case "fault":
            message = details["msg"]
        case _ if kind in _NO_TABLE:
            message = "must be a table" + (_HEADER_EXAMPLE if "headers" in path else "")
        case "value_error":
            message = f"{details['ctx']['error']}{_got(details['input'], path)}"
        case _ if path in _ARRAYS_OF_TABLES:
            message = f"must be tables headed [[{spell(path)}]]"
        case "tuple_type":
            message = "must be an array"
        case _:
            message = details["msg"].removeprefix("Input ") + _got(details["input"], path)
    return message


def _got(value: object, path: KeyPath) -> str:
    if not isinstance(value, (str, int, float)) or not _MAY_BE_SECRET.isdisjoint(path):
        return ""
    return f", got {shown(repr(value))}"


def find_place(path: KeyPath, places: Mapping[KeyPath, Place], default: Place) -> tuple[Place, str]:
    """Find where the setting at `path`, or else the nearest table around it, was written.

    Gives the place, and the setting's spelling where the place does not name it.
    """
    for length in range(len(path), 0, -1):
        place = places.get(path[:length])
        if place is not None:
            named = place.names_setting and length == len(path)
            return place, "" if named else spell(path)
    return default, spell(path)
