"""One answer to a scraper: written in slices, so that traffic goes on meanwhile, and compressed.

Knows how long the interpreter may be kept from other threads; does not know the formats
(`exposition`) nor what was asked for. Runs in a thread of its own.
"""

import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from mcp_proxy_exporter.observe.exposition import Exposition
from mcp_proxy_exporter.observe.metrics import Metrics

COMPRESS_FROM = 1024  # bytes: below this, one network packet carries it anyway
COMPRESS_LEVEL = 1  # metrics are repetitive: level 9 gains little and costs four times the CPU
_GZIP = 16 + zlib.MAX_WBITS  # zlib's manual, deflateInit2: a gzip header and trailer around it

# Between two slices the thread sleeps: an event loop that comes back from the system would wait for
# the interpreter's lock until the switch interval of 5 ms is over, each time. While 12,000 lines
# are written again and again, the 99th percentile of an echo rises by 12 ms without sleep, by 2 ms
# with one of 0, which often has the lock back before the loop is awake, and by 1 ms with this one.
_PAUSE = 0.0001


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """One scrape, written out."""

    body: bytes
    compressed: bool
    """In gzip's format."""


def write(exposition: Exposition, metrics: Metrics, *, compress: bool) -> Scrape:
    """Write a scrape in a format, compressed where that is wanted and worth it."""
    slices = []
    for written in exposition.slices(metrics):
        slices.append(written)
        time.sleep(_PAUSE)
    if compress and sum(map(len, slices)) >= COMPRESS_FROM:
        return Scrape(body=_compress(slices), compressed=True)
    return Scrape(body=b"".join(slices), compressed=False)


def _compress(slices: Iterable[bytes]) -> bytes:
    # zlib works without the interpreter's lock: here other threads need no pause.
    gzip = zlib.compressobj(COMPRESS_LEVEL, wbits=_GZIP)
    return b"".join([*map(gzip.compress, slices), gzip.flush()])
