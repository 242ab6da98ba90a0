"""h1spec of the uNetworking project: is every request answered, or waited for, as HTTP/1.1 wants?

Knows how it is run and how it counts; does not know its requests.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.support.product import run_proxy
from tests.torture.echo import run_echo
from tests.torture.scratch import CACHE, Repository, clone, install_deno, run
from tests.torture.verdict import Verdict

NAME = "h1spec"
REPOSITORY = Repository(
    name="uNetworking/h1spec",
    commit="f0a5650a20c575fbea0f7179a3a9cfa50f20ba6e",
    variable="TORTURE_H1SPEC",
)
TESTS = 33
# It waits half a second for each answer, all at once.
SECONDS = 60.0

COUNTED = re.compile(r"^(\d+) out of (\d+) tests passed\.$", re.MULTILINE)


def check() -> Iterator[Verdict]:
    """Run all its tests."""
    deno = install_deno()
    script = clone(REPOSITORY) / "http_test.ts"
    with run_echo() as upstream, run_proxy(upstream, name=NAME) as proxy:
        url = urlsplit(proxy.origin)
        more = {"DENO_DIR": str(CACHE / "deno"), "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}
        done = run(
            [deno, "run", "--allow-net", script, str(url.hostname), str(url.port)],
            SECONDS,
            more=more,
        )
    counted = COUNTED.search(done.output)
    passed, tests = counted.groups() if counted else ("?", "?")
    well = done.code == 0 and (passed, tests) == (str(TESTS), str(TESTS))
    yield Verdict(
        suite=NAME,
        figures=f"{passed} of {tests} tests passed",
        problems=() if well else (done.tail,),
    )
