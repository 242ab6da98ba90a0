"""A proxy in front of several servers with a recorder on each side, and looks at its metrics.

Knows how the programs are put together and when a scrape and the recordings can be compared; does
not know what is said.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.conversations import LISTENING
from tests.support.every_family import Whole, expect
from tests.support.figures import Table
from tests.support.peer_families import Lane
from tests.support.peers import Peer
from tests.support.product import is_ready, run_product
from tests.support.programs import POLL_SECONDS, START_SECONDS
from tests.support.reckoning import Reckoning
from tests.support.recorded_http import Exchange, read_exchanges
from tests.support.recorded_rpc import read_happenings
from tests.support.scrape import OPENMETRICS, Answer, fetch
from tests.support.tap import Recording, Tap, tapping
from tests.support.waiting import until
from tests.support.whole_rules import CAPS, CUSTOMS, SETTINGS, find_soft_error

SETTLE_SECONDS = 8.0

SERVER = """\
[[servers]]
name = "{name}"
listen = "127.0.0.1:0"
upstream = "{upstream}"
host_header = "{host}"

"""


@dataclass(slots=True, kw_only=True)
class Track:
    """A server of the proxy between two recorders."""

    name: str
    host: str = "auto"
    peer: Peer
    upstream: Tap
    client: Tap | None = None
    refused_at: float | None = None

    @property
    def origin(self) -> str:
        """Where clients go."""
        assert self.client is not None
        return self.client.origin

    def read_exchanges(self) -> list[Exchange]:
        """Return what clients did so far."""
        assert self.client is not None
        return [each for one in self.client.recordings for each in read_exchanges(one)]

    def reckon(self) -> Reckoning:
        """Say what became of it all so far."""
        reckoning = Reckoning(CAPS, find_soft_error, self.refused_at)
        reckoning.read(read_happenings(self.read_exchanges(), CAPS.largest))
        return reckoning

    def look(self) -> Lane:
        """Say how it stands."""
        assert self.client is not None
        return Lane(
            name=self.name,
            reckoning=self.reckon(),
            client_connections=_count_connections(self.client.recordings),
            upstream_connections=_count_connections(self.upstream.recordings),
            connects=len(self.upstream.recordings),
        )

    async def die(self) -> None:
        """Kill the server, and let nobody connect any more."""
        self.upstream.refuse()
        self.refused_at = time.time()
        await asyncio.to_thread(self.peer.program.kill)
        await until(lambda: not self.upstream.open)


def _count_connections(recordings: Sequence[Recording]) -> tuple[int, int]:
    opened = [recording for recording in recordings if recording.ended is None]
    active = sum(any(each.ended is None for each in read_exchanges(one)) for one in opened)
    return active, len(opened) - active


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A scrape in both formats while nothing moved, and what it must show."""

    tables: Mapping[str, Table]
    lanes: Mapping[str, Lane]
    text: Answer
    openmetrics: Answer
    began: float
    """Unix time when the proxy was started."""
    at: float
    """Unix time after the scrape."""


Compare = Callable[[Look], Sequence[str]]


@dataclass(slots=True, kw_only=True)
class Theatre:
    """The proxy, its servers and what was seen so far."""

    admin: str
    tracks: Mapping[str, Track]
    compare: Compare
    began: float
    looks: dict[str, Look] = field(default_factory=dict)

    def look(self, name: str) -> None:
        """Scrape once the proxy has counted all that the recorders saw; within bounds."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            lanes = [track.look() for track in self.tracks.values()]
            look = self.looks[name] = Look(
                tables=expect(Whole(lanes=lanes, customs=CUSTOMS, began=self.began)),
                lanes={lane.name: lane for lane in lanes},
                text=fetch(self.admin, "/metrics"),
                openmetrics=fetch(self.admin, "/metrics", {"Accept": OPENMETRICS}),
                began=self.began,
                at=time.time(),
            )
            if not self.compare(look) or time.monotonic() > deadline:
                return
            time.sleep(POLL_SECONDS)

    async def pause(self, name: str) -> None:
        """Look in the middle of a conversation."""
        await asyncio.to_thread(self.look, name)


@contextmanager
def open_theatre(tracks: Sequence[Track], compare: Compare) -> Iterator[Theatre]:
    """Run the proxy in front of some servers, with a recorder in front of each of its ports."""
    servers = "".join(
        SERVER.format(name=track.name, upstream=track.upstream.origin, host=track.host)
        for track in tracks
    )
    with TemporaryDirectory() as folder, ExitStack() as taps:
        file = Path(folder) / "proxy.toml"
        file.write_text(servers + SETTINGS)
        began = time.time()
        with run_product(["run", "--config", str(file)]) as program:
            program.wait_for_line("metrics: ", START_SECONDS)
            found = dict(LISTENING.findall(program.output))
            admin = found["metrics"]
            program.wait_until(lambda: is_ready(admin), "ready")
            for track in tracks:
                track.client = taps.enter_context(tapping(found[track.name]))
            by_name = {track.name: track for track in tracks}
            yield Theatre(admin=admin, tracks=by_name, compare=compare, began=began)
