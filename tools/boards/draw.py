"""The browser's part: bundles the page, opens it with a board's answers, and keeps the picture.

Knows npm, esbuild, Chromium and PNG; does not know what is drawn. Nothing is fetched but npm's
packages, into the folder it is given.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "page"
WIDTH = 1400
TALLEST = 3000
"""Pixels of the browser's window; what is below the board is cut off."""
SECONDS = 600

HTML = """\
<!doctype html>
<meta charset="utf-8">
<link rel="stylesheet" href="bundle.css">
<body style="margin: 0"><div id="root"></div>
<script src="{name}.js"></script>
<script src="bundle.js"></script>
"""


def bundle(folder: Path) -> None:
    """Put the page's program into a folder, with npm's packages beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (PAGE / "package.json").read_text()
    installed = folder / "package.json"
    if not installed.exists() or installed.read_text() != wanted:
        # Grafana's packages name peers that this page does not use.
        options = ("--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund")
        (folder / "wanted").mkdir(exist_ok=True)
        (folder / "wanted" / "package.json").write_text(wanted)
        _run(["npm", "install", *options, "--prefix", str(folder / "wanted")])
        shutil.rmtree(folder / "node_modules", ignore_errors=True)
        (folder / "wanted" / "node_modules").rename(folder / "node_modules")
        installed.write_text(wanted)
    modules = folder / "node_modules"
    icons = modules / "@grafana" / "ui" / "dist" / "public" / "img" / "icons"
    # Where the components look for them.
    shutil.copytree(icons, folder / "public" / "build" / "img" / "icons", dirs_exist_ok=True)
    binary = [
        f"--loader:{ending}=dataurl" for ending in (".svg", ".png", ".ttf", ".woff", ".woff2")
    ]
    _run(
        [
            str(modules / ".bin" / "esbuild"),
            str(PAGE / "main.tsx"),
            "--bundle",
            f"--outfile={folder / 'bundle.js'}",
            "--jsx=automatic",
            "--define:global=window",
            '--define:process.env.NODE_ENV="production"',
            "--log-level=error",
            *binary,
        ],
        {"NODE_PATH": str(modules)},
    )


def draw(folder: Path, name: str, answers: dict[str, Any], picture: Path) -> None:
    """Draw a board by the bundle of a folder."""
    (folder / f"{name}.js").write_text(f"window.answers = {json.dumps(answers)};")
    page = folder / f"{name}.html"
    page.write_text(HTML.format(name=name))
    taken = folder / f"{name}.png"
    with tempfile.TemporaryDirectory() as profile:
        _run(
            [
                find_browser(),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                # For the icons.
                "--allow-file-access-from-files",
                f"--user-data-dir={profile}",
                f"--window-size={WIDTH},{TALLEST}",
                "--virtual-time-budget=10000",
                f"--screenshot={taken}",
                page.as_uri(),
            ],
            {"TZ": "UTC"},
        )
    shrink = ["node", str(PAGE / "shrink.cjs"), str(taken), str(picture)]
    _run(shrink, {"NODE_PATH": str(folder / "node_modules")})


def find_browser() -> str:
    """Return the path of a Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    raise FileNotFoundError("Chromium is needed (Debian: chromium)")


def _run(argv: Sequence[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(  # noqa: S603  # programs named above
        argv,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} failed:\n{done.stderr}")
