"""The proxy under test, and the proof that it was there.

Knows the proxy's own figures: a conformant run proves nothing if the traffic went around it, or
if the inspection broke on it. Does not know what the traffic is.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.product import run_proxy


class UnwatchedError(Exception):
    """The proxy saw nothing, or could not read what it saw."""


@contextmanager
def run_watched(upstream: str) -> Iterator[str]:
    """Run the proxy in front of a server and yield its origin.

    Raises `UnwatchedError` at the end if the proxy counted no request or an error of its own.
    """
    with run_proxy(upstream, name="conformance") as proxy:
        yield proxy.origin
        figures = proxy.settle()
        if not figures.total("mcp_requests_total"):
            raise UnwatchedError("the proxy counted no request")
        if figures.total("mcp_proxy_inspection_errors_total"):
            raise UnwatchedError(f"the inspection failed:\n{proxy.program.output}")
