"""smuggler.py of defparam: can a request be written so that proxy and upstream cut it differently?

Each of its tests sends two requests with a Content-Length and an odd Transfer-Encoding, and waits
whether an answer stays out. Knows how it reports, and takes nothing for good but two answers with a
status that the proxy or the upstream may give; does not know its mutations.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support.product import run_proxy
from tests.torture.echo import run_echo
from tests.torture.scratch import CACHE, Repository, clone, run
from tests.torture.verdict import Verdict

NAME = "smuggler"
REPOSITORY = Repository(
    name="defparam/smuggler",
    commit="2be871e6151ce85167a277fab21c74c851d8b20b",
    variable="TORTURE_SMUGGLER",
)
TESTS = {"default": 134, "doubles": 966, "exhaustive": 668}
"""How many each of its configurations has; fewer means that it broke off."""
# A test takes milliseconds, but 5 s where no answer comes, and then it is tried thrice.
SECONDS = 300.0

# Refused by the proxy, or read in the one way that there is, and echoed. Not among them is what
# `echo` answers if it got something ambiguous.
GOOD_STATUSES = frozenset({"200", "400"})

# Its log has `[+]` lines on itself and one `[name] : ...` line for each test. A connection that
# was closed without an answer is an `OK` too, whose status is empty.
TESTED = re.compile(r"^\[(?!\+\])")
GOOD = re.compile(r": OK \(TECL: [\d.]+ - (\w*)\) \(CLTE: [\d.]+ - (\w*)\)$")


def check() -> Iterator[Verdict]:
    """Run each of its configurations."""
    folder = clone(REPOSITORY)
    with run_echo() as upstream, run_proxy(upstream, name=NAME) as proxy:
        for configuration in TESTS:
            yield check_one(folder, configuration, proxy.origin)


def check_one(folder: Path, configuration: str, origin: str) -> Verdict:
    """Run one configuration and read its log."""
    log = CACHE / f"smuggler-{configuration}.log"
    log.unlink(missing_ok=True)
    arguments = ["--no-color", "--url", f"{origin}/", "--configfile", f"{configuration}.py"]
    # What it warns of is its own old syntax.
    python = [sys.executable, "-W", "ignore"]
    done = run([*python, folder / "smuggler.py", *arguments, "--log", log], SECONDS)
    # It writes one line feed for each line, and whatever else its mutations' names contain.
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    tests = [line for line in lines if TESTED.match(line)]
    statuses = Counter(pair.groups() for line in tests if (pair := GOOD.search(line)))
    bad = [line for line in tests if not is_good(line)]
    problems = [f"{configuration}: {line}" for line in bad]
    if done.code != 0 or len(tests) != TESTS[configuration]:
        problems.append(f"{len(tests)} tests of {TESTS[configuration]} ran: {done.tail}")
    tally = ", ".join(
        f"{count} answered {' and '.join(sorted(set(pair)))}"
        for pair, count in sorted(statuses.items())
    )
    return Verdict(
        suite=f"{NAME} {configuration}",
        figures=f"{len(tests)} tests, {len(bad)} findings ({tally})",
        problems=tuple(problems),
    )


def is_good(line: str) -> bool:
    """Say whether both requests of a test were answered, with statuses that tell no mistake."""
    pair = GOOD.search(line)
    return pair is not None and GOOD_STATUSES.issuperset(pair.groups())
