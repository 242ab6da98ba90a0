"""`check --call`: what is printed, and the exit codes; and every recipe of the document."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from mcp_proxy_exporter import cli
from tests.support.product import COMMAND

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "custom-metrics.md"
CATS = ROOT / "mcp_proxy_exporter" / "demo" / "cats.toml"
SERVERS = '[[servers]]\nname = "cats"\nupstream = "http://h"\n'
TWO = SERVERS + '[[servers]]\nname = "dogs"\nlisten = ":1"\nupstream = "http://h"\n'

BLOCK = r"```{}\n(.*?)```\n"
RECIPE = re.compile(
    r"### (.+?)\n.*?"
    + BLOCK.format("toml")
    + r"\n"
    + BLOCK.format("json")
    + r"\n"
    + BLOCK.format(""),
    re.DOTALL,
)
RECIPES = RECIPE.findall(DOCUMENT.read_text().partition("## Recipes\n")[2])


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """A recorded call, the first of the document's."""
    file = tmp_path / "call.json"
    file.write_text(RECIPES[0][2])
    return file


def check(tmp_path: Path, settings: str, call: Path) -> int:
    """Run `check --call` in this process."""
    config = tmp_path / "proxy.toml"
    config.write_text(settings)
    return cli.main(["check", "--config", str(config), "--call", str(call)])


@pytest.mark.parametrize(
    ("settings", "recorded", "lines"),
    [recipe[1:] for recipe in RECIPES],
    ids=[recipe[0] for recipe in RECIPES],
)
def test_a_recipe_gives_what_the_document_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str, recorded: str, lines: str
) -> None:
    call = tmp_path / "call.json"
    call.write_text(recorded)
    assert check(tmp_path, SERVERS + settings, call) == 0
    printed = capsys.readouterr().out.splitlines(keepends=True)
    assert "".join(line for line in printed if not line.startswith(("# HELP", "# TYPE"))) == lines


def test_there_are_the_cats_and_ten_recipes_more() -> None:
    titles = re.findall(r"(?m)^### (.+)$", DOCUMENT.read_text())
    assert [recipe[0] for recipe in RECIPES] == titles
    assert len(titles) >= 11


def test_the_first_recipe_is_what_the_demo_uses() -> None:
    _comment, _, tables = CATS.read_text().partition("\n\n")
    assert RECIPES[0][1] == tables


@pytest.mark.parametrize(
    "settings", re.findall(BLOCK.format("toml"), DOCUMENT.read_text(), re.DOTALL)
)
def test_every_table_of_the_document_is_a_good_one(tmp_path: Path, settings: str) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(SERVERS + settings)
    assert cli.main(["check", "--config", str(config)]) == 0


def test_the_command_as_a_process(tmp_path: Path, call: Path) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(SERVERS + RECIPES[0][1])
    done = subprocess.run(
        [*COMMAND, "check", "--config", config, "--call", call],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "# TYPE cat_last_claw_level gauge\n" in done.stdout
    # What the document shows of the same call.
    [shown] = re.findall(
        r"\$ mcp-proxy-exporter check .*?\n(.*?)```", DOCUMENT.read_text(), re.DOTALL
    )
    assert all(line in done.stdout for line in shown.splitlines(keepends=True))


def test_a_call_may_name_its_server(
    tmp_path: Path, call: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call.write_text(json.dumps(json.loads(call.read_text()) | {"server": "dogs"}))
    settings = TWO + RECIPES[0][1].replace('tools = ["scratch_sofa"]', 'servers = ["d*"]')
    assert check(tmp_path, settings, call) == 0
    assert 'cat_last_claw_level{server="dogs",tool="scratch_sofa"} 64' in capsys.readouterr().out


def test_a_server_that_is_not_configured_is_an_error(
    tmp_path: Path, call: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call.write_text(json.dumps(json.loads(call.read_text()) | {"server": "mice"}))
    assert check(tmp_path, TWO, call) == 2
    assert capsys.readouterr().err == f"{call}: server: is none of the configured: cats, dogs\n"


def test_a_call_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.json"
    assert check(tmp_path, SERVERS, missing) == 2
    assert capsys.readouterr() == ("", f"{missing}: no such file or directory\n")


def test_a_call_that_is_none_is_an_error(
    tmp_path: Path, call: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call.write_text("{}")
    assert check(tmp_path, SERVERS, call) == 2
    assert capsys.readouterr().err.startswith(f"{call}: is no recorded call: ")


def test_a_wrong_configuration_comes_first(
    tmp_path: Path, call: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call.write_text("{}")
    assert check(tmp_path, "[[servers]]\n", call) == 2
    assert "servers[0].upstream: is required" in capsys.readouterr().err
