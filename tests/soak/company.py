"""Who comes to a stormy soak, and when: lone calls of 2026-07-28, and sessions of 2025-11-25.

Knows how often each kind of call is made and how it may end; does not know how (`manners`).
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Final

from tests.soak.chronicle import GONE, Chronicle
from tests.soak.guests import UNSERVED, Guest
from tests.soak.manners import DEFAULT, MANNERS, get, note_stream, notify, read_events
from tests.soak.sight import Sight, look
from tests.soak.storm import GONE_SECONDS
from tests.soak.weather import TOOL_CALL, Call, Sky, Visit, begin_chance

AT_ONCE: Final = 300
"""Lives that go on at the same time; more have to wait."""
LIFE_SECONDS: Final = 90.0
"""After which a life hangs."""
MAX_CALLS: Final = 12
IDLE: Final = "idle"

# How often each is made, and as what it may end if its server is there. Empty: as no call at all.
KINDS: Final[Mapping[str, tuple[int, frozenset[str]]]] = {
    tool: (weight, frozenset(endings.split()))
    for tool, weight, endings in (
        ("answer", 300, "success"),
        ("drip", 40, "success"),
        ("report", 40, "success"),
        ("cut_after_event", 20, "success"),
        ("tool_error", 40, "tool_error"),
        ("rpc_error", 40, "protocol_error"),
        ("http_error", 30, "http_error"),
        ("page", 10, "invalid_response"),
        ("nonsense", 10, "invalid_response"),
        ("nothing", 10, "invalid_response"),
        ("odd_coding", 10, "uninspected"),
        ("second_answer", 20, "success"),
        ("forgotten", 20, "upstream_closed"),
        ("closed", 25, "upstream_closed"),
        ("garbage", 25, "upstream_closed"),
        ("cut_in_head", 25, "upstream_closed"),
        ("cut_in_body", 40, "upstream_closed success"),
        ("late", 2, "upstream_timeout"),
        ("slow_reader", 4, "success"),
        ("slow_head", 10, "success"),
        ("pipelined", 30, "success"),
        ("pipelined_left", 10, GONE),
        ("left", 25, GONE),
        ("left_half", 15, GONE),
        ("left_in_answer", 25, GONE),
        ("left_at_answer", 25, "raced"),
        ("upload_left", 20, ""),
        ("upload_stuck", 2, ""),
        ("early_answer", 15, "http_error"),
        ("cancelled", 40, "cancelled"),
        ("resumed", 30, "success"),
        ("abandoned", 5, "abandoned"),
        ("listening", 25, f"success {GONE}"),
        ("head_stuck", 2, ""),
        ("head_left", 10, ""),
        ("no_request", 10, ""),
    )
}
# What only one of the two revisions has.
_OF_SESSIONS: Final = frozenset({"cancelled", "resumed", "abandoned"})
_OF_LONE_CALLS: Final = frozenset({"listening"})
_METHODS: Final = {"listening": "subscriptions/listen"}
_MODERN_KINDS: Final = [kind for kind in KINDS if kind not in _OF_SESSIONS]
_LEGACY_KINDS: Final = [kind for kind in KINDS if kind not in _OF_LONE_CALLS]


class Company:
    """All clients of one soak."""

    def __init__(self, origin: str, sky: Sky, chronicle: Chronicle) -> None:
        self.made: Counter[str] = Counter()
        """Calls by kind."""
        self.ended = 0
        self.slowest = (0.0, "")
        """Of calls that succeed: seconds and kind."""
        self._guest = Guest(origin, sky, chronicle)
        self._sky = sky
        self._chronicle = chronicle
        self._chance = begin_chance(sky.chance.getrandbits(64))
        self._lives: set[asyncio.Task[None]] = set()

    async def list_tools(self) -> None:
        """Have the tools listed, so that each has its series from now on."""
        await self._ask("tools/list", None)

    async def show_all(self) -> None:
        """Let everything happen once."""
        for kind in _MODERN_KINDS:
            await self._call(kind, None)
        visit = await self._begin()
        for kind in _LEGACY_KINDS:
            await self._call(kind, visit)
        for end in ("client", "cut", "end"):
            await self._listen(visit, end)
        await self._end(visit, "deleted")

    async def come(self, seconds: float, rate: float) -> None:
        """Let clients come for some time, so many calls in each second, and wait until all left."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        begun = 0
        while (passed := loop.time() - started) < seconds:
            while begun < passed * rate and len(self._lives) < AT_ONCE:
                begun += self._begin_life()
            await asyncio.sleep(0.005)
        if self._lives:
            await asyncio.wait(tuple(self._lives), timeout=LIFE_SECONDS + GONE_SECONDS)
        await self._guest.close()

    def _begin_life(self) -> int:
        """Let somebody come; return how many calls that will be."""
        if self._chance.random() < 0.85:
            calls = 1
            life = self._live_once()
        else:
            calls = self._chance.randint(1, MAX_CALLS)
            life = self._live_in_session(calls)
        task = asyncio.create_task(asyncio.wait_for(life, LIFE_SECONDS))
        self._lives.add(task)
        task.add_done_callback(self._bury)
        return calls

    def _bury(self, task: "asyncio.Task[None]") -> None:
        self._lives.discard(task)
        if (error := task.exception()) is not None:
            self._sky.blame(f"a life failed: {error!r}")

    # Lives

    async def _live_once(self) -> None:
        await self._call(self._draw(_MODERN_KINDS), None)

    async def _live_in_session(self, calls: int) -> None:
        visit = await self._begin()
        for _ in range(calls):
            await self._call(self._draw(_LEGACY_KINDS), visit)
        if self._chance.random() < 0.4:
            await self._listen(visit, self._chance.choice(("client", "cut", "end")))
        await self._end(visit, self._chance.choice(("deleted", "deleted", "expired", IDLE)))

    def _draw(self, kinds: list[str]) -> str:
        return self._chance.choices(kinds, [KINDS[kind][0] for kind in kinds])[0]

    async def _call(self, kind: str, visit: Visit | None) -> None:
        self.made[kind] += 1
        call = self._sky.make_call(_METHODS.get(kind, TOOL_CALL), kind, visit)
        outcome = await MANNERS.get(kind, DEFAULT)(self._guest, call)
        del self._sky.calls[call.nonce]
        allowed = KINDS[kind][1]
        if outcome not in {UNSERVED, *(allowed or {""})}:
            self._sky.blame(f"{kind} ended as {outcome or 'nothing'}")
        if outcome == "success" and kind == "answer":
            taken = asyncio.get_running_loop().time() - call.started
            self.slowest = max(self.slowest, (taken, kind))
        self.ended += 1

    async def _ask(self, method: str, visit: Visit | None, expected: str = "success") -> None:
        """Make a request that is no call of a tool, as often as it takes."""
        outcome = ""
        while outcome != expected:
            call = self._sky.make_call(method, "", visit)
            sight = await self._guest.ask(call)
            unserved = self._guest.is_unserved(call, sight)
            outcome = self._guest.judge(call, sight)
            del self._sky.calls[call.nonce]
            if outcome != expected and not unserved:
                self._sky.blame(f"{method} ended as {outcome}")
                return
            if unserved:
                await asyncio.sleep(0.1)
                outcome = ""

    # Sessions

    async def _begin(self) -> Visit:
        visit = self._sky.make_visit()
        await self._ask("initialize", visit)
        self._chronicle.opened += 1
        call = Call("", begin_chance(self._chance.getrandbits(64)), visit=visit)
        await notify(self._guest, call, "notifications/initialized")
        return visit

    async def _end(self, visit: Visit, way: str) -> None:
        if way == "expired":
            visit.dead = True
            await self._ask("ping", visit, "http_error")
        elif way == "deleted":
            head = self._guest.write_head("DELETE", visit, {})
            status = 0
            while status != 200:
                client = await self._guest.take()
                await client.send(head)
                sight = await look(client, Sight())
                await self._guest.give(client, sight)
                self._chronicle.note_exchange("DELETE", sight)
                status = sight.status
                if status != 200:
                    self._chronicle.unserved[sight.own or "stray",] += 1
                    await asyncio.sleep(0.1)
        self._chronicle.closed[way,] += 1
        del self._sky.visits[visit.key]

    async def _listen(self, visit: Visit, end: str) -> None:
        """Open the session's own stream."""
        self.made[f"stream_{end}"] += 1
        visit.news, visit.end = self._chance.randint(1, 5), end
        call = Call("", begin_chance(self._chance.getrandbits(64)), visit=visit)
        head = self._guest.write_head("GET", visit, {})
        if end != "client":
            await get(self._guest, call, head)
            return
        while True:
            client = await self._guest.take(call)
            await client.send(head)
            sight = Sight()
            reading = asyncio.create_task(look(client, sight))
            await asyncio.wait_for(sight.news.wait(), GONE_SECONDS)
            if sight.status == 200:
                break
            await reading
            await self._guest.give(client, sight)
            self._chronicle.note_exchange("GET", sight)
            self._chronicle.unserved[sight.own or "stray",] += 1
            await asyncio.sleep(0.1)
        await read_events(self._guest, sight, visit.news)
        reading.cancel()
        await asyncio.wait({reading})
        client.reset()
        await asyncio.wait_for(visit.left.wait(), GONE_SECONDS)
        self._chronicle.exchanges["GET", "200"] += 1
        note_stream(self._guest, sight, "get")
