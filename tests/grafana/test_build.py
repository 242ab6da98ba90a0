from pathlib import Path

import pytest

from grafana import build
from tests.grafana.files import DASHBOARDS


def test_committed_files_are_those_that_the_code_builds() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir()}
    built = build.build_files()
    assert set(committed) == set(built)
    changed = [name for name, text in built.items() if committed[name] != text]
    assert changed == [], "run `make dashboards`"


def test_build_writes_all_and_removes_what_is_no_board_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "DASHBOARDS", tmp_path)
    (tmp_path / "mcp-forgotten.json").write_text("{}")
    (tmp_path / "mcp-tool.json").write_text("{}")
    build.main()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == build.build_files()
