"""The Dockerfile keeps its rules. What the image does is in `tests/containers`."""

import ensurepip
import json
import re
import subprocess
import tomllib
import venv
from pathlib import Path

import pytest

from mcp_proxy_exporter import __version__, app
from mcp_proxy_exporter.config import ConfigError, load
from mcp_proxy_exporter.config.layers import PREFIX
from tests.deploy.files import (
    DOCKERFILE,
    ROOT,
    find_program,
    read_dockerfile,
    read_environment,
    read_final_stage,
)


def find(word: str) -> list[str]:
    return [rest for each, rest in read_final_stage() if each == word]


def test_hadolint_has_no_warning() -> None:
    command = [find_program("hadolint"), "--failure-threshold", "warning", str(DOCKERFILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_bases_are_pinned_and_can_be_chosen() -> None:
    before = read_dockerfile()[:2]
    assert before == [
        ("ARG", "BUILD_BASE=python:3.13-slim-bookworm"),
        ("ARG", "RUNTIME_BASE=${BUILD_BASE}"),
    ]
    stages = [rest for word, rest in read_dockerfile() if word == "FROM"]
    assert stages == ["${BUILD_BASE} AS build", "${RUNTIME_BASE}"]


def test_default_python_is_one_that_the_package_supports() -> None:
    [(_, base), *_] = read_dockerfile()
    version = base.partition(":")[2].partition("-")[0]
    assert f'"Programming Language :: Python :: {version}"' in (ROOT / "pyproject.toml").read_text()


def test_it_runs_as_a_number_that_is_not_root() -> None:
    assert find("USER")[-1] == "65532:65532"


def test_commands_are_lists_so_that_no_shell_stands_before_the_process() -> None:
    assert json.loads(find("ENTRYPOINT")[0]) == ["python3", "-m", "mcp_proxy_exporter"]
    assert json.loads(find("CMD")[0]) == ["run"]
    [check] = find("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command == ["python3", "-m", "mcp_proxy_exporter", "healthcheck"]
    # Also while it is built: the runtime's base may have no shell.
    assert all(
        isinstance(json.loads(rest), list) for word, rest in read_dockerfile() if word == "RUN"
    )
    assert find("STOPSIGNAL") == ["SIGTERM"]


def test_nothing_is_fetched_but_hashed_packages() -> None:
    words = {word for word, _ in read_dockerfile()}
    assert "ADD" not in words
    installs = [rest for word, rest in read_dockerfile() if word == "RUN" and '"install"' in rest]
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install
    assert all(word != "RUN" or '"-I"' in rest for word, rest in read_final_stage())


def test_where_packages_come_from_stays_out_of_the_image() -> None:
    arguments = [rest for word, rest in read_dockerfile() if word == "ARG"]
    assert {"PIP_INDEX_URL", "PIP_FIND_LINKS"} <= set(arguments)
    assert not any(rest.startswith("PIP_") for rest in find("ARG"))
    assert not any(name.startswith("PIP_") for name in read_environment())


def test_the_settings_of_the_image_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = read_environment()
    ours = {name: text for name, text in environment.items() if name.startswith(PREFIX)}
    assert len(ours) == 2
    for name, text in ours.items():
        monkeypatch.setenv(name, text)
    settings = load(None, {"--upstream": "http://h"})
    # All interfaces, and the ports that outside of a container are the defaults.
    assert settings.servers[0].listen == ":8080"
    assert settings.admin.listen == ":10464"
    assert find("EXPOSE") == ["8080 10464"]


def test_a_file_with_servers_needs_one_variable_emptied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = '[[servers]]\nname = "{0}"\nlisten = ":{0}"\nupstream = "http://h"\n'
    file = tmp_path / "proxy.toml"
    file.write_text("".join(server.format(port) for port in (8081, 8082)))
    for name, text in read_environment().items():
        monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=f"{PREFIX}LISTEN: sets the only server"):
        load(file)
    assert f"-e {PREFIX}LISTEN=`" in (ROOT / "docs" / "deployment.md").read_text()
    monkeypatch.setenv(f"{PREFIX}LISTEN", "")
    assert [server.listen for server in load(file).servers] == [":8081", ":8082"]


def test_compiling_is_a_choice_and_wants_what_its_build_hook_wants() -> None:
    arguments = [rest for word, rest in read_dockerfile() if word == "ARG"]
    assert {"COMPILED", "NEEDS=${COMPILED:+compile}"} <= set(arguments)
    [built] = [rest for word, rest in read_dockerfile() if word == "ENV" and "MYPYC" in rest]
    # The variable of the hook in pyproject.toml; empty is off.
    assert "HATCH_BUILD_HOOK_ENABLE_MYPYC=${COMPILED}" in built.split()
    hooks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    hook = hooks["targets"]["wheel"]["hooks"]["mypyc"]
    assert hook["enable-by-default"] is False
    locked = (ROOT / "requirements" / "compile.txt").read_text()
    names = [re.split(r"[<>=]", each)[0] for each in (*hook["dependencies"], "hatchling")]
    assert all(re.search(rf"^{name}==", locked, re.MULTILINE) for name in names)
    assert "MYPYC" not in str(read_final_stage())
    assert "--build-arg COMPILED=1" in (ROOT / "docs" / "deployment.md").read_text()


def test_version_and_revision_are_told() -> None:
    assert f"VERSION={__version__}" in find("ARG")
    assert read_environment()[app.REVISION_VARIABLE] == "${REVISION}"
    [labels] = find("LABEL")
    names = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", labels))
    assert {"title", "description", "licenses", "version", "revision"} <= names
    assert '"${VERSION}"' in labels
    assert '"${REVISION}"' in labels


def read_copies() -> set[str]:
    copies = [rest for word, rest in read_dockerfile() if word == "COPY" and "--from" not in rest]
    sources = {source for rest in copies for source in rest.split()[:-1]}
    # With and without COMPILED.
    needs = {source for source in sources if "$" in source}
    assert needs == {"requirements/${NEEDS:-build}.txt"}
    return (sources - needs) | {"requirements/build.txt", "requirements/compile.txt"}


def test_whatever_the_package_is_made_of_is_copied() -> None:
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, wheel = written["project"], written["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", project["readme"], *project["license-files"], *wheel["packages"]}
    assert needed | set(wheel.get("force-include", {})) <= read_copies()


def test_the_context_is_what_is_copied_and_nothing_else() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = read_copies()
    assert copied == allowed
    for path in copied:
        assert (ROOT / path).exists(), path
    assert [rule for rule in rules if not rule.startswith("!")][1:] == ["**/__pycache__"]


def test_what_installs_is_shed_and_python_stays(tmp_path: Path) -> None:
    place = tmp_path / "python"
    venv.create(place, with_pip=True, symlinks=True)
    script = str(ROOT / "deploy" / "container" / "shed")
    # Not as the main program, which would remove it from this machine's standard library.
    code = f"import runpy; print(*runpy.run_path({script!r})['find_leftovers'](), sep='\\n')"
    command = [str(place / "bin" / "python3"), "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = {Path(line) for line in done.stdout.splitlines()}
    assert Path(ensurepip.__file__).parent in found
    beside = set(place.glob("lib/*/site-packages/*")) | set(place.glob("bin/*pip*"))
    assert beside
    assert beside <= found
    assert not [path for path in found if path.name.startswith("python")]
