"""The conformance check: the official suite says the same with the proxy as without it.

Usage: python -m tests.conformance

Runs the suite against a server, and against a client, of both eras, first directly and then with
the proxy in between. Knows what must come out: the same checks pass, and at least as many as are
known to. Exit status 1 says that they do not, 2 that the check could not run.
"""

import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

from tests.conformance.suite import Check, Outcome, Suite, SuiteError, install
from tests.conformance.watch import UnwatchedError, run_watched
from tests.support.programs import ProgramError, find_free_port, is_listening, running

LEGACY = "2025-11-25"
MODERN = "2026-07-28"

# OAuth scenarios do not apply: a client compares the protected resource's URL, which the suite's
# server states as its own, with the one it used, which is the proxy's, and has to refuse.
NOT_APPLICABLE = "auth/"


@dataclass(frozen=True, slots=True)
class Leg:
    """One side of the protocol at one revision."""

    side: str
    revision: str
    passes: int
    """How many checks pass without a proxy; fewer means that the check itself has broken."""


LEGS = (
    Leg("server", LEGACY, 84),
    Leg("server", MODERN, 152),
    Leg("client", LEGACY, 20),
    Leg("client", MODERN, 64),
)


def check_server(suite: Suite, revision: str, *, proxied: bool) -> Outcome:
    """Run the suite against the server under test."""
    port = find_free_port()
    argv = [sys.executable, "-m", "tests.conformance.server", str(port)]
    with running(argv) as server:
        server.wait_until(lambda: is_listening(port), "listening")
        origin = f"http://127.0.0.1:{port}"
        if not proxied:
            return suite.check_server(f"{origin}/mcp", revision)
        with run_watched(origin) as proxy:
            return suite.check_server(f"{proxy}/mcp", revision)


def check_client(suite: Suite, revision: str, *, proxied: bool) -> Outcome:
    """Run the suite against the client under test, one scenario after the other.

    At once, they would disturb the ones that measure how long a client waits.
    """
    module = "tests.conformance.proxied_client" if proxied else "tests.conformance.client"
    command = shlex.join([sys.executable, "-m", module])
    outcome = Outcome()
    for scenario in suite.list_client_scenarios(revision):
        if not scenario.startswith(NOT_APPLICABLE):
            outcome.add(suite.check_client(command, scenario, revision))
    return outcome


SIDES: dict[str, Callable[..., Outcome]] = {"server": check_server, "client": check_client}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A leg without and with the proxy."""

    leg: Leg
    direct: Outcome
    proxied: Outcome

    @property
    def differing(self) -> list[Check]:
        """The checks that did not pass equally often."""
        direct, proxied = self.direct.passed, self.proxied.passed
        return sorted(check for check in direct | proxied if direct[check] != proxied[check])

    @property
    def problems(self) -> list[str]:
        """What is wrong, one sentence each; nothing if the proxy is transparent."""
        problems = [f"{check} differs through the proxy" for check in self.differing]
        for way, outcome in (("directly", self.direct), ("through the proxy", self.proxied)):
            problems += [f"{check} failed {way}" for check in sorted(outcome.failed)]
            if outcome.passed.total() < self.leg.passes:
                problems.append(f"fewer than {self.leg.passes} checks passed {way}")
        return problems


def describe(comparison: Comparison) -> str:
    """Return a line of the table."""
    leg, direct, proxied = comparison.leg, comparison.direct, comparison.proxied
    return (
        f"{leg.side:8}{leg.revision:12}"
        f"{direct.passed.total():8}{direct.failed.total():8}"
        f"{proxied.passed.total():10}{proxied.failed.total():8}{len(comparison.differing):11}"
    )


def compare(suite: Suite) -> bool:
    """Run all legs, print a line for each, and say whether all is well."""
    write = sys.stdout.write
    write(f"{'':20}{'direct':>16}{'through the proxy':>18}\n")
    write(f"{'side':8}{'revision':12}{'passed':>8}{'failed':>8}")
    write(f"{'passed':>10}{'failed':>8}{'differing':>11}\n")
    well = True
    for leg in LEGS:
        check = SIDES[leg.side]
        comparison = Comparison(
            leg,
            direct=check(suite, leg.revision, proxied=False),
            proxied=check(suite, leg.revision, proxied=True),
        )
        write(f"{describe(comparison)}\n")
        sys.stdout.flush()
        if comparison.problems:
            well = False
            complaints = comparison.direct.complaints + comparison.proxied.complaints
            sys.stderr.write("\n".join([*complaints, *comparison.problems, ""]))
    return well


def main() -> None:
    """Install the suite and compare."""
    # Leave the `with` blocks when terminated, so that all programs end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(0 if compare(install()) else 1)
    except UnwatchedError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    except (ProgramError, SuiteError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
