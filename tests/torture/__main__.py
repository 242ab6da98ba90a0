"""The torture: HTTP suites of others, and varnishtest scripts of our own, run against the proxy.

Usage: python -m tests.torture [SUITE ...]

Knows the suites and what their verdicts mean together: exit status 1 says that one found
something, 2 that one could not run. Each suite starts the product as a user does.
"""

import argparse
import signal
import sys
from collections.abc import Iterator

from tests.support.programs import ProgramError
from tests.torture import h1spec, lint, slowhttptest, smuggler, varnishtest
from tests.torture.scratch import MissingError
from tests.torture.verdict import Suite, Verdict

SUITES: dict[str, Suite] = {
    module.NAME: module.check for module in (h1spec, smuggler, slowhttptest, varnishtest, lint)
}


def judge(name: str) -> Iterator[Verdict]:
    """Run a suite; whatever a check of the product itself says is a finding, too."""
    try:
        yield from SUITES[name]()
    except AssertionError as error:
        yield Verdict(suite=name, figures="the proxy did not do well", problems=(str(error),))


def report(verdict: Verdict) -> None:
    """Write a line, and what was found."""
    mark = "FOUND" if verdict.problems else "ok"
    sys.stdout.write(f"{mark:6}{verdict.suite:34}{verdict.figures}\n")
    sys.stdout.flush()
    for problem in verdict.problems:
        sys.stderr.write(f"{verdict.suite}: {problem}\n")


def run(names: list[str]) -> int:
    """Run suites, also after one that could not; return the exit status."""
    found = lacking = False
    for name in names:
        try:
            for verdict in judge(name):
                report(verdict)
                found = found or bool(verdict.problems)
        except (MissingError, ProgramError) as error:
            lacking = True
            sys.stderr.write(f"{name} could not run: {error}\n")
    return 1 if found else 2 if lacking else 0


def main() -> None:
    """Run the suites that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("suite", nargs="*", help=", ".join(SUITES))
    names = parser.parse_args().suite or list(SUITES)
    if unknown := set(names) - set(SUITES):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    # Leave the `with` blocks when terminated, so that all programs end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(names))


if __name__ == "__main__":
    main()
