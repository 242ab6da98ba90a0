"""A Docker engine, by its command line: images, containers, the compose stack.

Knows how things are asked of Docker; does not know what is asked. Where there is no engine, or an
image cannot be had, the test is skipped with the reason.
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import lack

ROOT = Path(__file__).parents[2]
COMMAND_SECONDS = 120.0
BUILD_SECONDS = 900.0
POLL_SECONDS = 0.1


def docker(*arguments: str, seconds: float = COMMAND_SECONDS) -> str:
    """Run a command to its end and return what it printed; fail with all it said."""
    return _run(["docker", *arguments], seconds)


def skip_without_engine() -> None:
    """Skip the test where nobody runs containers."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not on PATH")
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except AssertionError:
        pytest.skip("no Docker engine answers")


def find_compose() -> list[str]:
    """Give the command of Docker Compose: the program, or the plugin of docker; without, `lack`."""
    for command in (["docker-compose"], ["docker", "compose"]):
        with contextlib.suppress(AssertionError, FileNotFoundError):
            _run([*command, "version"], COMMAND_SECONDS)
            return command
    lack("Docker Compose is not installed")
    return []  # for mypy: `lack` does not return


def has_image(name: str) -> bool:
    """Say whether an image is there, or was when it was pulled."""
    for attempt in (("image", "inspect", name), ("pull", "--quiet", name)):
        with contextlib.suppress(AssertionError):
            docker(*attempt, seconds=300)
            return True
    return False


def inspect(name: str) -> dict[str, Any]:
    """Read all that is known of a container or image."""
    [known] = json.loads(docker("inspect", name))
    assert isinstance(known, dict)
    return known


def read_log(container: str) -> str:
    """Read what a container has written."""
    done = subprocess.run(
        ["docker", "logs", container],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
        check=True,
    )
    return done.stdout


def wait_for(holds: Callable[[], bool], what: str, seconds: float) -> float:
    """Wait until something holds; return how long it took."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() < begin + seconds, f"not {what} after {seconds} s"
        time.sleep(POLL_SECONDS)
    return time.monotonic() - begin


def is_healthy(container: str) -> bool:
    """Say whether a container's own check is content with it; fail once it has ended."""
    known = inspect(container)
    state = known["State"]
    ended = not state["Running"] or known["RestartCount"]
    assert not ended, read_log(container)
    return bool(state["Health"]["Status"] == "healthy")


@contextlib.contextmanager
def container(image: str, *command: str, options: Sequence[str] = ()) -> Iterator[str]:
    """Run a container for the length of a block and yield its id."""
    name = docker("run", "--detach", *options, image, *command).strip()
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


@contextlib.contextmanager
def network() -> Iterator[str]:
    """Make a network for the length of a block."""
    name = docker("network", "create", f"mcp-test-{os.getpid()}-{time.monotonic_ns()}").strip()
    try:
        yield name
    finally:
        docker("network", "rm", name)


@contextlib.contextmanager
def wheels(python: str) -> Iterator[str]:
    """Serve the wheels that the image is made of, for a minor version of Python; yield the URL.

    A build sees no package index that this machine has by its own configuration, so this machine
    downloads; the hashes are checked here and again in the build.
    """
    with tempfile.TemporaryDirectory() as folder:
        for lock in ("run", "build"):
            fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
            fetch += ["--only-binary", ":all:", "--python-version", python, "--dest", folder]
            _run([*fetch, "--requirement", f"requirements/{lock}.txt"], BUILD_SECONDS)
        handler = functools.partial(_Quiet, directory=folder)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/"
            server.shutdown()


def build(tag: str, base: str, revision: str) -> None:
    """Build the product's image on a base."""
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    python = docker("run", "--rm", "--entrypoint", "python3", base, "-c", version).strip()
    with wheels(python) as url:
        values = {"BUILD_BASE": base, "REVISION": revision}
        values |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": url}
        arguments = [f"--build-arg={name}={value}" for name, value in values.items()]
        # The wheels are on this machine's loopback.
        place = ("--network", "host", "--tag", tag, str(ROOT))
        docker("build", *arguments, *place, seconds=BUILD_SECONDS)


def wrap(tag: str, base: str, programs: Mapping[str, Path], state: str) -> None:
    """Build an image of programs of this machine; the first one is what it runs."""
    first = next(iter(programs))
    with tempfile.TemporaryDirectory() as folder:
        for name, path in programs.items():
            shutil.copy(path, Path(folder) / name)
        lines = [f"FROM {base}", f"COPY {' '.join(programs)} /bin/"]
        lines += [f"RUN mkdir {state} && chown 65534:65534 {state}"]
        # Debian's Alertmanager has its templates beside it.
        templates = programs[first].parent.parent / "share" / "prometheus" / "alertmanager"
        for template in templates.glob("*.tmpl"):
            shutil.copy(template, folder)
            lines += [f"COPY {template.name} /usr/share/prometheus/alertmanager/"]
        lines += ["USER 65534:65534", f"ENTRYPOINT {json.dumps([f'/bin/{first}'])}"]
        Path(folder, "Dockerfile").write_text("\n".join(lines))
        docker("build", "--tag", tag, folder, seconds=BUILD_SECONDS)


class Stack:
    """The compose file's services, under a name of their own."""

    def __init__(self, files: Sequence[Path], environment: Mapping[str, str]) -> None:
        """Take the files, the first of which says where the others' paths begin."""
        self._command = [*find_compose(), "--project-name", f"mcp-test-{os.getpid()}"]
        for file in files:
            self._command += ["--file", str(file)]
        self._environment = {**os.environ, **environment}

    def run(self, *arguments: str) -> str:
        """Run a command of compose."""
        return _run([*self._command, *arguments], BUILD_SECONDS, self._environment)

    def find(self, service: str) -> str:
        """Return the id of a service's container."""
        return self.run("ps", "--all", "--quiet", service).strip()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing: pip says enough."""


def _run(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
