"""Writes the boards: `python -m grafana.build`.

Knows where the files are and what they are called; does not know what is in them.
"""

import json
from pathlib import Path

from grafana.boards import BOARDS
from grafana.boards.board import build_board

DASHBOARDS = Path(__file__).parent / "dashboards"


def build_files() -> dict[str, str]:
    """Give the text of each file by its name."""
    return {
        f"{board.uid}.json": json.dumps(build_board(board), indent=2, ensure_ascii=False) + "\n"
        for board in BOARDS
    }


def main() -> None:
    """Write all files, and remove those of boards that are no more."""
    files = build_files()
    for old in DASHBOARDS.glob("*.json"):
        if old.name not in files:
            old.unlink()
    for name, text in files.items():
        (DASHBOARDS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
