"""The differential check: what the proxy forwards is read alike by every parser at hand.

Usage: python -m tests.differential [--count N] [--first SEED]

Puts N spoiled requests of MCP clients to proxies and gives what they forward to h11 and httptools,
and to real servers: Node's, and uvicorn on both of its parsers. Exit status 1 says that someone saw
another request than the proxy did, 2 that the check could not run.
"""

import argparse
import asyncio
import shutil
import sys
import time

from tests.differential.compare import Comparison, Tally
from tests.differential.servers import running_servers


def main() -> int:
    """Run the check and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    asked = parser.parse_args()
    if shutil.which("node") is None:
        sys.stderr.write("node is not on PATH\n")
        return 2
    with running_servers() as servers:
        began = time.monotonic()
        comparison = Comparison(servers)
        tally = asyncio.run(comparison.run(range(asked.first, asked.first + asked.count)))
    sys.stdout.write(_report(tally, time.monotonic() - began))
    return bool(tally.differences)


def _report(tally: Tally, seconds: float) -> str:
    statuses = ", ".join(
        f"{count} of {status}" for status, count in sorted(tally.statuses.items()) if count
    )
    lines = [
        f"{tally.sent} clients in {seconds:.0f} s, {tally.refused} ended by a refusal ({statuses})",
        f"{tally.requests} requests forwarded on {tally.wires} connections, {tally.given_up} cut",
        *[
            f"{name} refuses {cause}: {count}"
            for (name, cause), count in sorted(tally.refusals.items())
        ],
        f"{len(tally.differences)} differences",
        *tally.differences[:20],
    ]
    return "".join(line + "\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
