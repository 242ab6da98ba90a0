"""`dashboards`: what it writes where, what it leaves alone, and that the files are installed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mcp_proxy_exporter import cli
from mcp_proxy_exporter.commands import dashboards

ROOT = Path(__file__).parents[2]
COMMITTED = {path.name: path.read_bytes() for path in (ROOT / "grafana" / "dashboards").iterdir()}
BUILD_SECONDS = 50.0


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_boards_are_written_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "boards"
    assert cli.main(["dashboards", str(folder)]) == 0
    assert read_folder(folder) == COMMITTED
    assert capsys.readouterr().out.splitlines() == [
        str(folder / name) for name in sorted(COMMITTED)
    ]


def test_what_is_already_there_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("mine")
    assert cli.main(["dashboards", str(tmp_path)]) == 0
    assert cli.main(["dashboards", str(tmp_path)]) == 0
    assert read_folder(tmp_path) == {**COMMITTED, "notes.json": b"mine"}


def test_changed_boards_are_kept_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mcp-tool.json").write_text("mine")
    assert cli.main(["dashboards", str(tmp_path)]) == 1
    assert read_folder(tmp_path) == {"mcp-tool.json": b"mine"}
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"mcp-proxy-exporter: {tmp_path}: has other files of these names: mcp-tool.json; "
        "--force replaces them\n"
    )


def test_force_replaces_changed_boards(tmp_path: Path) -> None:
    (tmp_path / "mcp-tool.json").write_text("mine")
    assert cli.main(["dashboards", "--force", str(tmp_path)]) == 0
    assert read_folder(tmp_path) == COMMITTED


def test_file_in_place_of_the_folder_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert cli.main(["dashboards", str(file)]) == 1
    assert capsys.readouterr().err == f"mcp-proxy-exporter: {file}: file exists\n"


def test_folder_in_place_of_a_board_is_told_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "mcp-tool.json"
    taken.mkdir()
    assert cli.main(["dashboards", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"mcp-proxy-exporter: {taken}: is a directory\n"
    assert list(tmp_path.iterdir()) == [taken]


def test_write_that_fails_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_path: Path, _content: bytes) -> int:
        raise PermissionError(13, "Permission denied", str(tmp_path / "mcp-context.json"))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert cli.main(["dashboards", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("mcp-context.json: permission denied\n")
    assert list(tmp_path.iterdir()) == []


def test_folder_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["dashboards"])
    assert caught.value.code == 2
    assert "DIR" in capsys.readouterr().err


def test_source_tree_has_the_committed_boards() -> None:
    assert {board.name: board.read_bytes() for board in dashboards.find_boards()} == COMMITTED


def test_built_wheel_has_the_boards_and_its_command_finds_them(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=BUILD_SECONDS)
    [wheel] = tmp_path.glob("*.whl")
    packed = zipfile.ZipFile(wheel)
    prefix = "mcp_proxy_exporter/dashboards/"
    boards = {name.removeprefix(prefix) for name in packed.namelist() if name.startswith(prefix)}
    assert boards == set(COMMITTED)
    # As installed: no source tree around it.
    site = tmp_path / "site"
    packed.extractall(site)
    written = tmp_path / "written"
    subprocess.run(
        [sys.executable, "-m", "mcp_proxy_exporter", "dashboards", str(written)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        timeout=BUILD_SECONDS,
    )
    assert read_folder(written) == COMMITTED
