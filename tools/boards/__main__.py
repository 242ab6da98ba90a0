"""Draws the documentation's pictures of the boards anew.

Usage: python -m tools.boards [--seconds N] [--keep] [BOARD...]

Needs Prometheus, npm and Chromium. Lets the servers, their clients and the proxy live for some
minutes, asks the boards' queries, and draws the answers with Grafana's panel components. Everything
that is not a picture stays in `.cache/boards`.
"""

import argparse
import shutil
from pathlib import Path

from tests.grafana.engine import serve_folder
from tests.grafana.files import BOARDS
from tools.boards.answers import ask_board
from tools.boards.draw import bundle, draw
from tools.boards.world import read_recording, record

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "boards"
PICTURES = ROOT / "docs" / "images"

CHOSEN = {"mcp-tool": {"tool": ["search_books", "read_page", "lend_book", "shrug", "repeat"]}}
"""What is chosen in the variables of a board; else all."""


def main() -> None:
    """Record, unless a recording is kept; then ask and draw."""
    parser = argparse.ArgumentParser(description="draw the pictures of the boards")
    parser.add_argument("--seconds", type=int, default=560, help="how long the world lives")
    parser.add_argument("--keep", action="store_true", help="draw the last recording again")
    parser.add_argument("boards", nargs="*", metavar="BOARD", help="such as mcp-overview")
    arguments = parser.parse_args()
    world = CACHE / "world"
    if not arguments.keep:
        shutil.rmtree(world, ignore_errors=True)
        record(world, arguments.seconds)
    bundle(CACHE / "page")
    recording = read_recording(world)
    with serve_folder(world) as engine:
        for board in arguments.boards or BOARDS:
            answers = ask_board(engine, recording, board, CHOSEN.get(board, {}))
            picture = PICTURES / f"board-{board.removeprefix('mcp-')}.png"
            draw(CACHE / "page", board, answers, picture)
            print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size // 1000} kB")  # noqa: T201


if __name__ == "__main__":
    main()
