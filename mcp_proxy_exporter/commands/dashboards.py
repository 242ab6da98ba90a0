"""`dashboards`: write the Grafana boards to a folder."""

import argparse
import os
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from mcp_proxy_exporter.commands.common import EXIT_OK, Commands, fail

_IN_SOURCE_TREE = Path(__file__).parents[2] / "grafana" / "dashboards"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "dashboards",
        help="write the Grafana dashboards to a folder",
        description="Write the Grafana dashboards to a folder, as files to import or to provision.",
    )
    parser.set_defaults(command=_write_dashboards)
    parser.add_argument("folder", metavar="DIR", type=Path, help="made if it is not there")
    parser.add_argument(
        "--force", action="store_true", help="replace files that are there and say something else"
    )


def _write_dashboards(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.folder
    boards = {board.name: board.read_bytes() for board in find_boards()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        changed = _find_changed(folder, boards)
        if changed and not arguments.force:
            # They may hold somebody's work.
            names = ", ".join(changed)
            return fail(f"{folder}: has other files of these names: {names}; --force replaces them")
        for name, content in boards.items():
            _replace(folder / name, content)
    except OSError as error:
        return fail(f"{error.filename or folder}: {(error.strerror or str(error)).lower()}")
    for name in boards:
        print(folder / name)  # noqa: T201
    return EXIT_OK


def find_boards() -> list[Traversable]:
    """Find the files: beside the code where it was installed, in the source tree otherwise."""
    installed = files("mcp_proxy_exporter") / "dashboards"
    place = installed if installed.is_dir() else _IN_SOURCE_TREE
    return sorted(
        (file for file in place.iterdir() if file.name.endswith(".json")),
        key=lambda file: file.name,
    )


def _find_changed(folder: Path, boards: Mapping[str, bytes]) -> list[str]:
    return [
        name
        for name, content in boards.items()
        if (folder / name).exists() and (folder / name).read_bytes() != content
    ]


def _replace(path: Path, content: bytes) -> None:
    # Grafana may watch the folder: it must not read half a file.
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
