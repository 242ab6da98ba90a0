"""From file, environment and command line to settings, or to everything that is wrong with them.

Knows the order of the steps; each step's rules are in the module that it calls.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from mcp_proxy_exporter.config.errors import (
    ConfigError,
    Place,
    Problem,
    complaints,
    find_place,
)
from mcp_proxy_exporter.config.layers import (
    Layer,
    overlay,
    read_environment,
    read_file,
    read_flags,
    settle_only_server,
)
from mcp_proxy_exporter.config.models import AdminSettings, MetricsSettings, Settings, conflicts
from mcp_proxy_exporter.config.section import KeyPath, Section
from mcp_proxy_exporter.config.servers import ServerSettings

Review: TypeAlias = Callable[[MetricsSettings], Iterable[tuple[KeyPath, str]]]
"""Finds what is wrong in settings that are well-formed: the path below ``[metrics]``, a message."""


def load(
    file: Path | None = None,
    flags: Mapping[str, str] | None = None,
    *,
    review: Review = lambda _settings: (),
) -> Settings:
    """Read the settings: TOML file, then ``MCP_PROXY_EXPORTER__`` variables, then flags.

    Later ones win. `flags` maps the names in `layers.FLAGS` to their texts; `review` knows the
    metric families. Raises ConfigError, with all that is wrong.
    """
    written = read_file(file) if file else Layer()
    rest = overlay(read_environment(), read_flags(flags or {}))
    if written.problems:
        # Without the file nothing can be said of what it would have set.
        raise ConfigError(written.problems + rest.problems)
    layer = settle_only_server(overlay(written, rest))
    problems = set(layer.problems)
    nowhere = Place(0, 0, str(file)) if file else Place(2, 0, "configuration")
    for path, message in _review(layer.values.get("metrics", {}), review):
        problems.add(Problem(*find_place(path, layer.places, nowhere), message))
    try:
        settings = Settings(**layer.values)
    except ValidationError as error:
        for path, message in (*complaints(error), *_conflicts(layer.values)):
            problems.add(Problem(*find_place(path, layer.places, nowhere), message))
    else:
        if not problems:
            return settings
    raise ConfigError(problems)


def _review(table: object, review: Review) -> Iterator[tuple[KeyPath, str]]:
    try:
        settings = MetricsSettings.model_validate(table)
    except ValidationError:
        return
    yield from ((("metrics", *path), message) for path, message in review(settings))


def _conflicts(values: dict[Any, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Look for conflicts where the settings as a whole could not be checked for them."""
    servers = values.get("servers")
    admin = values.get("admin", {})
    if not isinstance(servers, list):
        return
    if all(isinstance(table, dict) for table in (*servers, admin)):
        named = [
            (_text(server, "name", ServerSettings), _text(server, "listen", ServerSettings))
            for server in servers
        ]
        yield from conflicts(named, _text(admin, "listen", AdminSettings))


def _text(table: Mapping[str, Any], key: str, section: type[Section]) -> str:
    return str(table.get(key, section.model_fields[key].default))
