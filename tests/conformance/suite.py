"""The official MCP conformance suite: npm ``@modelcontextprotocol/conformance``.

Knows how to install it, how to start it against a server or a client, and how to read the checks
that it writes. Does not know what it is pointed at, nor what should come out.
"""

import fcntl
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.programs import running

PACKAGE = "@modelcontextprotocol/conformance"
# Pinned: the figures that are expected depend on it. What npm calls `latest` (0.1) does not know
# 2026-07-28.
VERSION = "0.2.0-alpha.12"
# The suite does not start on Node.js 20 ("'fs' does not provide an export named 'globSync'").
NODE_VERSION = "22.23.3"
CACHE = Path(__file__).parents[2] / ".cache" / "conformance"
LOOPBACK = Path(__file__).with_name("loopback.cjs")

# The packages and a Node.js of 120 MB, on a slow line.
INSTALL_SECONDS = 300.0
# All scenarios of a server take 4 s, one scenario of a client 2 s, on a free core.
RUN_SECONDS = 180.0
SCENARIO_SECONDS = 30.0
LIST_SECONDS = 30.0
COMPLAINT_CHARACTERS = 4000

LISTED = re.compile(r"^  - (\S+)", re.MULTILINE)
# The suite names its directories `[server-]SCENARIO-2026-01-31T12-00-00-000Z`.
RESULT = re.compile(r"^(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z$")


class SuiteError(Exception):
    """The suite cannot be installed, or did not run to its end."""


@dataclass(frozen=True, slots=True, order=True)
class Check:
    """One requirement as one scenario puts it to the test."""

    scenario: str
    name: str
    """The suite's id of it; a scenario may check one thing several times."""

    def __str__(self) -> str:
        return f"{self.scenario}: {self.name}"


@dataclass(slots=True)
class Outcome:
    """What came out of a run of the suite."""

    passed: Counter[Check] = field(default_factory=Counter)
    failed: Counter[Check] = field(default_factory=Counter)
    """Checks that failed, or that the suite only warns of."""
    complaints: list[str] = field(default_factory=list)
    """What the suite or a program wrote about failures, for the reader."""

    def add(self, other: "Outcome") -> None:
        """Take in the outcome of another run."""
        self.passed.update(other.passed)
        self.failed.update(other.failed)
        self.complaints += other.complaints


@dataclass(frozen=True, slots=True)
class Suite:
    """The suite, installed."""

    argv: tuple[str, ...]

    def list_client_scenarios(self, revision: str) -> list[str]:
        """Return the scenarios for clients of a revision of the protocol."""
        with running([*self.argv, "list", "--client", "--spec-version", revision]) as program:
            program.wait_for_exit(LIST_SECONDS)
            return LISTED.findall(program.output)

    def check_server(self, url: str, revision: str) -> Outcome:
        """Run all scenarios of a revision against a server."""
        arguments = ["server", "--url", url, "--suite", "all"]
        return self._run("all scenarios", [*arguments, "--spec-version", revision])

    def check_client(self, command: str, scenario: str, revision: str) -> Outcome:
        """Run one scenario against a client.

        The suite serves, sets the scenario in the environment, and runs ``command`` with the URL
        as its last argument, through a shell.
        """
        arguments = ["client", "--command", command, "--scenario", scenario]
        return self._run(scenario, [*arguments, "--spec-version", revision])

    def _run(self, what: str, arguments: Sequence[str]) -> Outcome:
        timeout = str(int(SCENARIO_SECONDS * 1000))
        with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
            argv = [*self.argv, *arguments, "--timeout", timeout, "--output-dir", directory]
            with running(argv) as program:
                try:
                    code = program.wait_for_exit(RUN_SECONDS)
                except subprocess.TimeoutExpired as error:
                    raise SuiteError(f"{argv} ran longer than {RUN_SECONDS} s") from error
            outcome = read_results(Path(directory))
        if code != 0:
            outcome.complaints.append(program.output[-COMPLAINT_CHARACTERS:])
            if not outcome.failed:
                # Such as a client that ended with an error although every check passed.
                outcome.failed[Check(what, f"exit status {code}")] += 1
        return outcome


def read_results(directory: Path) -> Outcome:
    """Read the checks that the suite wrote."""
    outcome = Outcome()
    for file in sorted(directory.glob("*/checks.json")):
        match = RESULT.match(file.parent.name)
        if match is None:
            raise SuiteError(f"{file.parent.name} is not how the suite names its results")
        scenario = match["scenario"].removeprefix("server-")
        for check in json.loads(file.read_text()):
            key = Check(scenario, check["id"])
            # Besides there are INFO (a log) and SKIPPED.
            if check["status"] == "SUCCESS":
                outcome.passed[key] += 1
            elif check["status"] in {"FAILURE", "WARNING"}:
                outcome.failed[key] += 1
                outcome.complaints.append(f"{key}: {check.get('errorMessage', '')}")
    return outcome


def install() -> Suite:
    """Return the suite, after installing it where it is missing."""
    npm = shutil.which("npm")
    if npm is None:
        raise SuiteError("npm is not on PATH")
    node = name_node_package()
    directory = CACHE / f"suite-{VERSION}-node-{NODE_VERSION}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / ".installed").exists():
            sys.stderr.write(f"Installing {PACKAGE} {VERSION} and Node.js {NODE_VERSION}\n")
            download(npm, directory, [f"{PACKAGE}@{VERSION}", f"{node}@{NODE_VERSION}"])
            (directory / ".installed").touch()
    modules = directory / "node_modules"
    executable = modules / node / "bin" / "node"
    index = modules / PACKAGE / "dist" / "index.js"
    # What the suite serves to clients, it would serve on all interfaces.
    return Suite((str(executable), "--require", str(LOOPBACK), str(index)))


def name_node_package() -> str:
    """Return the npm package that holds Node.js for this machine.

    npm ``node`` is only a script that installs this one, and no scripts run here.
    """
    machine = platform.machine().lower()
    arch = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(machine, machine)
    name = "node-bin" if (sys.platform, arch) == ("darwin", "arm64") else "node"
    return f"{name}-{sys.platform}-{arch}"


def download(npm: str, directory: Path, packages: Sequence[str]) -> None:
    """Install npm packages into a directory."""
    # The suite wants Node.js 22 and gets it: npm's own version is no obstacle.
    options = ["--ignore-scripts", "--engine-strict=false", "--no-audit", "--no-fund"]
    argv = [npm, "install", "--prefix", str(directory), *options, *packages]
    with running(argv) as program:
        try:
            code = program.wait_for_exit(INSTALL_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SuiteError(f"npm did not install {packages} in {INSTALL_SECONDS} s") from error
    if code != 0:
        raise SuiteError(f"npm cannot install {packages}:\n{program.output}")
