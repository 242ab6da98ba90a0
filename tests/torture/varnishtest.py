"""Scripts for varnishtest, the tool that tests Varnish and HAProxy: both ends of each conversation.

The scripts, ``*.vtc`` in this folder, are this project's own; there is no Varnish in them. Knows
how they are run; what they promise they say themselves.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.product import run_proxy
from tests.support.programs import find_free_port
from tests.torture.scratch import install_varnishtest, run
from tests.torture.verdict import Verdict

NAME = "varnishtest"
SCRIPTS = Path(__file__).parent
# Of one script. It needs a second, for its delays; whatever waits in vain waits until then.
SCRIPT_SECONDS = 20

# Neither failed nor skipped.
PASSED = re.compile(r"^#\s+top\s+TEST \S+ passed", re.MULTILINE)


def check() -> Iterator[Verdict]:
    """Run all scripts, one after the other, against one proxy."""
    executable, more = install_varnishtest()
    scripts = sorted(SCRIPTS.glob("*.vtc"))
    problems = []
    # The proxy has to know where the scripts' servers will listen.
    port = find_free_port()
    with run_proxy(f"http://127.0.0.1:{port}", name=NAME) as proxy:
        macros = ["-D", f"proxy={urlsplit(proxy.origin).port}", "-D", f"upstream={port}"]
        for script in scripts:
            argv = [str(executable), *macros, "-t", str(SCRIPT_SECONDS), str(script)]
            done = run(argv, 2 * SCRIPT_SECONDS, more=more)
            if done.code != 0 or not PASSED.search(done.output):
                problems.append(f"{script.name}: {done.tail}")
    yield Verdict(
        suite=NAME,
        figures=f"{len(scripts) - len(problems)} of {len(scripts)} scripts passed",
        problems=tuple(problems),
    )
