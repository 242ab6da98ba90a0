"""The scratch folder: where the tools and suites of others are put, and never in the repository.

Knows how each kind is fetched, at the version that is known to work; does not know what the tools
are for. What is missing on the machine is a `MissingError`, which names it.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.suite import SuiteError, download

CACHE = Path(__file__).parents[2] / ".cache" / "torture"

DENO_VERSION = "2.9.6"
HTTPLINT_VERSION = "2026.10.4"

# Deno, the largest, has 50 MB packed; on a slow line.
FETCH_SECONDS = 300.0
COMPLAINT_CHARACTERS = 4000


class MissingError(Exception):
    """Something that a suite needs is not on this machine, and cannot be fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A program that ran."""

    code: int | None
    """Its exit status; None if it was ended because it ran for too long."""
    output: str

    @property
    def tail(self) -> str:
        """How it ended, for the reader."""
        ending = "it ran for too long" if self.code is None else f"exit status {self.code}"
        return f"{ending}; it wrote:\n{self.output[-COMPLAINT_CHARACTERS:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A suite that is only published by git."""

    name: str
    commit: str
    """Pinned: what is expected of it was seen with this one."""
    variable: str
    """The environment variable that names another place to clone it from."""

    @property
    def origin(self) -> str:
        """Where to clone it from."""
        return os.environ.get(self.variable) or f"https://github.com/{self.name}"


def run(
    argv: Sequence[str | Path],
    seconds: float,
    *,
    folder: Path | None = None,
    more: Mapping[str, str] | None = None,
    given: str = "",
) -> Done:
    """Run a program to its end, in a folder, with more in its environment."""
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env={**os.environ, **(more or {})},
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return Done(code=None, output=(error.stdout or b"").decode(errors="replace"))
    return Done(code=done.returncode, output=done.stdout)


def find(name: str, package: str) -> str:
    """Return the path of a program on PATH, which a package of Debian brings."""
    path = shutil.which(name)
    if path is None:
        raise MissingError(f"{name} is not on PATH (Debian: {package})")
    return path


def clone(repository: Repository) -> Path:
    """Return a checkout of a repository."""

    def fetch(folder: Path) -> None:
        git = find("git", "git")
        _fetch([git, "clone", "--quiet", repository.origin, "."], folder, repository.variable)
        _fetch([git, "checkout", "--quiet", repository.commit], folder, repository.variable)

    return _install(f"{repository.name.replace('/', '-')}-{repository.commit[:12]}", fetch)


def install_deno() -> Path:
    """Return the executable of Deno, which npm ``deno`` brings."""

    def fetch(folder: Path) -> None:
        try:
            download(find("npm", "npm"), folder, [f"deno@{DENO_VERSION}"])
        except SuiteError as error:
            raise MissingError(str(error)) from error

    folder = _install(f"deno-{DENO_VERSION}", fetch)
    # The package of the machine's own kind, one of several that npm chooses from.
    executable = next(folder.glob("node_modules/@deno/*/deno"), None)
    if executable is None:
        raise MissingError("npm has no Deno for this machine")
    return executable


def install_httplint() -> Path:
    """Return the Python of a virtual environment that has PyPI ``httplint``."""

    def fetch(folder: Path) -> None:
        _fetch([sys.executable, "-m", "venv", "."], folder)
        pip = [str(folder / "bin" / "pip"), "--disable-pip-version-check", "install"]
        _fetch([*pip, "--quiet", f"httplint=={HTTPLINT_VERSION}"], folder)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _install(f"httplint-{HTTPLINT_VERSION}-{version}", fetch) / "bin" / "python"


def install_varnishtest() -> tuple[Path, dict[str, str]]:
    """Return the executable, and what it needs in its environment.

    Where it is not on PATH, Debian's packages are only unpacked: installed, they would start a
    cache.
    """
    found = shutil.which("varnishtest")
    if found is not None:
        return Path(found), {}

    def fetch(folder: Path) -> None:
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            raise MissingError("varnishtest is not on PATH (Debian: varnish)")
        _fetch(["apt-get", "--quiet", "download", "varnish", "libvarnishapi3"], folder)
        for package in folder.glob("*.deb"):
            _fetch(["dpkg", "-x", package, "."], folder)

    folder = _install("varnishtest", fetch)
    libraries = next(folder.glob("usr/lib/*/libvarnishapi.so.3"))
    return folder / "usr" / "bin" / "varnishtest", {"LD_LIBRARY_PATH": str(libraries.parent)}


def _install(name: str, fetch: Callable[[Path], None]) -> Path:
    """Return a folder below the cache that ``fetch`` has filled, now or before."""
    folder = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = CACHE / f"{name}.installed"
        if not done.exists():
            sys.stderr.write(f"Installing {name}\n")
            # What an attempt that was broken off has left.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            fetch(folder)
            done.touch()
    return folder


def _fetch(argv: Sequence[str | Path], folder: Path, variable: str = "") -> None:
    done = run(argv, FETCH_SECONDS, folder=folder)
    if done.code != 0:
        hint = f" ({variable} can name another place)" if variable else ""
        command = " ".join(map(str, argv))
        raise MissingError(f"{command}{hint}: {done.tail}")
