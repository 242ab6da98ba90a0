"""The seam: whatever breaks behind it, nothing comes through, and each fault is a number."""

import time
from collections.abc import Callable, Sequence

import pytest

from mcp_proxy_exporter.protocol.events import Event, InspectionStopped
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.tap import Fields, Tap, TapFactory


def event(text: str) -> Event:
    return InspectionStopped(reason=text)


class Inspection:
    """Says what it was told, and breaks in the methods named."""

    def __init__(self, broken: Sequence[str] = (), error: Exception | None = None) -> None:
        self.broken = broken
        self.error = error or RuntimeError("a bug")
        self.calls: list[tuple[object, ...]] = []
        self.parts = 0
        """How many more a compressed body has."""

    def _note(self, name: str, *arguments: object) -> Sequence[Event]:
        self.calls.append((name, *arguments))
        if name in self.broken:
            raise self.error
        return [event(name), event(name + " 2")]

    def request(self, data: bytes, now: float) -> Sequence[Event]:
        return self._note("request", data, now)

    def response(self, status: int, fields: Fields, data: bytes, now: float) -> Sequence[Event]:
        return self._note("response", status, fields, data, now)

    def request_data(self, data: bytes, now: float) -> Sequence[Event]:
        return self._note("request_data", data, now)

    def request_end(self, now: float) -> Sequence[Event]:
        return self._note("request_end", now)

    def response_head(self, status: int, fields: Fields, now: float) -> Sequence[Event]:
        return self._note("response_head", status, fields, now)

    def response_data(self, data: bytes, now: float) -> Sequence[Event]:
        return self._note("response_data", data, now)

    def response_end(self, now: float) -> Sequence[Event]:
        return self._note("response_end", now)

    def aborted(self, cause: Abort, now: float) -> Sequence[Event]:
        return self._note("aborted", cause, now)

    def unfinished(self) -> bool:
        self.parts -= 1
        if "unfinished" in self.broken:
            raise self.error
        return self.parts >= 0

    def awaits(self) -> bool:
        return not self._note("awaits")


class Silent(Inspection):
    """Never has anything to tell."""

    def _note(self, name: str, *arguments: object) -> Sequence[Event]:
        super()._note(name, *arguments)
        return ()


class Broken:
    """Breaks whatever it is asked."""

    def open(self, method: bytes, target: bytes, fields: Fields) -> None:
        raise RecursionError(method, target, fields)

    def sweep(self, now: float) -> Sequence[Event]:
        raise RuntimeError(now)

    def close(self, now: float) -> Sequence[Event]:
        raise RuntimeError(now)


class World:
    """A factory with an inspector, a sink and a count of faults."""

    def __init__(self, inspection: Inspection | None = None, *, enabled: bool = True) -> None:
        self.inspection = inspection
        self.opened: list[tuple[bytes, bytes, Fields]] = []
        self.told: list[str] = []
        self.faults: list[str] = []
        self.factory = TapFactory(
            self if enabled else None, self.emit, self.faults.append, lambda: 7.5
        )

    def open(self, method: bytes, target: bytes, fields: Fields) -> Inspection | None:
        self.opened.append((method, target, fields))
        return self.inspection

    def sweep(self, now: float) -> Sequence[Event]:
        return [event(f"swept {now}")]

    def close(self, now: float) -> Sequence[Event]:
        return [event(f"closed {now}")]

    def emit(self, event: Event) -> None:
        assert isinstance(event, InspectionStopped)
        self.told.append(event.reason)

    def tap(self) -> Tap:
        tap = self.factory.open(b"POST", b"/mcp", {b"a": b"b"})
        assert tap is not None
        return tap


STEPS: dict[str, tuple[Callable[[Tap], None], str]] = {
    "request": (lambda tap: tap.request(b"q"), "request"),
    "request_data": (lambda tap: tap.request_data(b"q"), "request"),
    "request_end": (lambda tap: tap.request_end(), "request"),
    "response_head": (lambda tap: tap.response_head(200, {}), "response"),
    "response_data": (lambda tap: tap.response_data(b"r"), "response"),
    "response_end": (lambda tap: tap.response_end(), "response"),
    "response": (lambda tap: tap.response(200, {}, b"r"), "response"),
    "aborted": (lambda tap: tap.aborted(Abort.CLIENT_GONE), "abort"),
}
CALLS: dict[str, tuple[object, ...]] = {
    "request": ("request", b"q", 7.5),
    "response": ("response", 200, {}, b"r", 7.5),
    "request_data": ("request_data", b"q", 7.5),
    "request_end": ("request_end", 7.5),
    "response_head": ("response_head", 200, {}, 7.5),
    "response_data": ("response_data", b"r", 7.5),
    "response_end": ("response_end", 7.5),
    "aborted": ("aborted", Abort.CLIENT_GONE, 7.5),
}


def run(tap: Tap, *names: str) -> None:
    for name in names:
        STEPS[name][0](tap)


def test_whole_messages_are_handed_on_at_once() -> None:
    world = World(Inspection())
    run(world.tap(), "request", "response")
    assert world.inspection is not None
    assert world.inspection.calls == [CALLS["request"], CALLS["response"]]
    assert world.told == ["request", "request 2", "response", "response 2"]


@pytest.mark.parametrize("end", ["response_end", "aborted"])
def test_everything_is_handed_on_with_the_time_and_told(end: str) -> None:
    world = World(Inspection())
    names = ["request_data", "request_end", "response_head", "response_data", end]
    run(world.tap(), *names)
    assert world.opened == [(b"POST", b"/mcp", {b"a": b"b"})]
    assert world.inspection is not None
    assert world.inspection.calls == [CALLS[name] for name in names]
    assert world.told == [text for name in names for text in (name, name + " 2")]
    assert world.faults == []


def test_an_inspection_may_have_nothing_to_tell() -> None:
    world = World(Silent())
    run(world.tap(), *STEPS)
    assert world.told == []
    assert world.faults == []


@pytest.mark.parametrize("end", ["response", "response_end", "aborted"])
def test_nothing_is_inspected_after_the_end(end: str) -> None:
    inspection = Inspection()
    world = World(inspection)
    tap = world.tap()
    run(tap, end)
    run(tap, *STEPS)
    assert inspection.calls == [CALLS[end]]


def test_there_is_no_tap_where_nothing_is_inspected() -> None:
    world = World(None)
    assert world.factory.open(b"GET", b"/", {}) is None
    assert world.opened == [(b"GET", b"/", {})]
    world = World(Inspection(), enabled=False)
    assert world.factory.open(b"GET", b"/", {}) is None
    assert world.opened == []
    assert world.faults == []


def test_an_inspector_that_cannot_open_is_a_fault_and_no_tap() -> None:
    world = World()

    factory = TapFactory(Broken(), world.emit, world.faults.append, lambda: 0.0)
    assert factory.open(b"GET", b"/", {}) is None
    assert world.faults == ["open"]


def test_what_is_overdue_is_told_with_the_time() -> None:
    world = World()
    world.factory.sweep()
    assert world.told == ["swept 7.5"]


def test_what_is_overdue_is_told_after_what_was_seen() -> None:
    world = World(Inspection())
    steps: list[Callable[[], None]] = []
    factory = TapFactory(world, world.emit, world.faults.append, lambda: 7.5, later=steps.append)
    tap = factory.open(b"POST", b"/mcp", {})
    assert tap is not None
    tap.response_end()
    factory.sweep()
    steps[0]()
    factory.sweep()
    assert world.told == ["response_end", "response_end 2", "swept 7.5"]
    assert len(steps) == 2
    steps[1]()
    assert world.told[3:] == ["swept 7.5"]


def test_a_clock_that_breaks_ends_nothing() -> None:
    world = World()

    def clock() -> float:
        raise OSError("no time")

    factory = TapFactory(world, world.emit, world.faults.append, clock)
    factory.sweep()
    factory.close()
    assert world.faults == ["sweep", "close"]
    assert world.told == []


def test_closing_tells_what_is_queued_before_what_waits() -> None:
    world = World(Inspection())
    steps: list[Callable[[], None]] = []
    factory = TapFactory(world, world.emit, world.faults.append, lambda: 7.5, later=steps.append)
    tap = factory.open(b"POST", b"/mcp", {})
    assert tap is not None
    tap.response_end()
    assert world.told == []
    factory.close()
    assert world.told == ["response_end", "response_end 2", "closed 7.5"]


def test_nothing_is_swept_or_closed_where_nothing_is_inspected() -> None:
    world = World(enabled=False)
    world.factory.sweep()
    world.factory.close()
    assert (world.told, world.faults) == ([], [])


def test_a_fault_of_sweeping_or_closing_is_a_number() -> None:
    world = World()
    factory = TapFactory(Broken(), world.emit, world.faults.append, lambda: 0.0)
    factory.sweep()
    factory.close()
    assert world.faults == ["sweep", "close"]
    assert world.told == []


@pytest.mark.parametrize("error", [ValueError("x"), RecursionError(), MemoryError(), KeyError(1)])
@pytest.mark.parametrize("name", [name for name in STEPS if name != "aborted"])
def test_a_fault_ends_this_inspection_and_closes_what_it_had_opened(
    name: str, error: Exception
) -> None:
    inspection = Inspection([name], error)
    world = World(inspection)
    tap = world.tap()
    run(tap, name)
    assert world.faults == [STEPS[name][1]]
    assert inspection.calls == [CALLS[name], ("aborted", Abort.FAULT, 7.5)]
    assert world.told == ["aborted", "aborted 2"]
    run(tap, *STEPS)
    assert len(inspection.calls) == 2
    assert len(world.faults) == 1
    # The next exchange is inspected as ever.
    world.inspection = Inspection()
    run(world.tap(), "request_data")
    assert world.told[2:] == ["request_data", "request_data 2"]


def test_a_fault_in_asking_what_is_awaited_is_a_number_and_means_yes() -> None:
    inspection = Inspection(["awaits"])
    world = World(inspection)
    tap = world.tap()
    assert tap.awaits()
    assert world.faults == ["awaits"]
    run(tap, "response_data")
    assert world.told == ["response_data", "response_data 2"]


def test_a_fault_in_the_end_is_one_fault() -> None:
    inspection = Inspection(["aborted"])
    world = World(inspection)
    tap = world.tap()
    run(tap, "aborted", "aborted", "response_end")
    assert inspection.calls == [CALLS["aborted"]]
    assert world.faults == ["abort"]
    assert world.told == []


def test_an_inspection_broken_twice_is_two_faults() -> None:
    world = World(Inspection(["response_data", "aborted"]))
    run(world.tap(), "response_data", "response_data")
    assert world.faults == ["response", "abort"]
    assert world.told == []


def test_a_clock_that_breaks_is_a_fault_like_any_other() -> None:
    faults: list[str] = []
    world = World(Inspection())

    def clock() -> float:
        raise OSError("no time")

    factory = TapFactory(world, world.emit, faults.append, clock)
    tap = factory.open(b"GET", b"/", {})
    assert tap is not None
    tap.request_end()
    assert faults == ["request", "abort"]


def test_a_broken_sink_costs_its_events_and_nothing_else() -> None:
    faults: list[str] = []
    inspection = Inspection()
    world = World(inspection)

    def emit(event: Event) -> None:
        raise TypeError(event)

    factory = TapFactory(world, emit, faults.append, lambda: 7.5)
    tap = factory.open(b"GET", b"/", {})
    assert tap is not None
    run(tap, "request_data", "response_end")
    assert faults == ["sink"] * 4
    assert inspection.calls == [CALLS["request_data"], CALLS["response_end"]]
    factory.report(event("a fact of the data plane"))
    assert faults == ["sink"] * 5


def test_the_data_planes_own_facts_reach_the_sink() -> None:
    world = World(enabled=False)
    world.factory.report(event("a fact"))
    assert world.told == ["a fact"]
    assert world.faults == []


def later(world: World) -> tuple[TapFactory, list[Callable[[], None]]]:
    """Return a factory that looks when it is told to, and what it asked for."""
    asked: list[Callable[[], None]] = []
    return (
        TapFactory(world, world.emit, world.faults.append, lambda: 7.5, later=asked.append),
        asked,
    )


def test_what_was_seen_is_looked_at_later_and_in_order() -> None:
    world = World(Inspection())
    factory, asked = later(world)
    tap = factory.open(b"POST", b"/mcp", {})
    assert tap is not None
    run(tap, "request")
    factory.report(event("a fact"))
    run(tap, "response", "response_end")
    assert world.told == []
    assert len(asked) == 1
    asked[0]()
    # The answer ended the exchange: what was queued after it is not looked at.
    assert world.told == ["request", "request 2", "a fact", "response", "response 2"]
    factory.report(event("another"))
    assert len(asked) == 2
    factory.afterwards(lambda: world.told.append("afterwards"))
    asked[1]()
    assert world.told[5:] == ["another", "afterwards"]
    factory.afterwards(lambda: world.told.append("at once"))
    assert world.told[7:] == ["at once"]


def test_a_fault_later_ends_that_inspection_only() -> None:
    broken, sound = Inspection(["request_end"]), Inspection()
    world = World(broken)
    factory, asked = later(world)
    first = factory.open(b"POST", b"/mcp", {})
    world.inspection = sound
    second = factory.open(b"POST", b"/mcp", {})
    assert first is not None
    assert second is not None
    run(first, "request_end", "response_data")
    run(second, "request_end")
    asked[0]()
    assert broken.calls == [CALLS["request_end"], ("aborted", Abort.FAULT, 7.5)]
    assert sound.calls == [CALLS["request_end"]]
    assert world.faults == ["request"]
    assert world.told == ["aborted", "aborted 2", "request_end", "request_end 2"]


def test_looking_pauses_for_the_sockets_and_goes_on() -> None:
    class Slow(Inspection):
        def request_end(self, now: float) -> Sequence[Event]:
            until = time.perf_counter() + 0.004
            while time.perf_counter() < until:
                pass
            return super().request_end(now)

    world = World(Slow())
    factory, asked = later(world)
    taps = [factory.open(b"POST", b"/mcp", {}) for _ in range(3)]
    for tap in taps:
        assert tap is not None
        run(tap, "request_end")
    for turn in range(3):
        assert len(asked) == turn + 1
        asked[turn]()
        assert len(world.told) == 2 * (turn + 1)
    assert len(asked) == 3


def test_of_a_queue_that_grows_too_long_the_excess_is_looked_at_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mcp_proxy_exporter.tap._TURN", -1.0)  # a step takes longer than that
    monkeypatch.setattr("mcp_proxy_exporter.tap._MAX_QUEUED", 10)
    world = World(enabled=False)
    factory, asked = later(world)
    names = [str(number) for number in range(15)]
    for name in names:
        factory.report(event(name))
    asked[0]()
    assert world.told == names[:5]
    for turn in range(1, 11):
        assert len(asked) == turn + 1
        asked[turn]()
    assert world.told == names
    assert len(asked) == 11


CODED = {b"content-encoding": b"gzip"}


def names_of(inspection: Inspection) -> list[object]:
    return [name for name, *_ in inspection.calls]


def test_whole_bodies_that_are_compressed_are_looked_at_in_steps() -> None:
    world = World(Silent())
    assert world.inspection is not None
    tap = world.factory.open(b"POST", b"/mcp", CODED)
    assert tap is not None
    tap.request(bytes(40_000))
    tap.response(200, CODED, bytes(20_000))
    data = [len(seen[1]) for seen in world.inspection.calls if str(seen[0]).endswith("data")]  # type: ignore[arg-type]
    assert data == [16_384, 16_384, 7_232, 16_384, 3_616]
    assert names_of(world.inspection) == [
        *["request_data"] * 3,
        "request_end",
        "response_head",
        *["response_data"] * 2,
        "response_end",
    ]
    assert tap.inspection is None


def test_only_a_compressed_response_is_looked_at_in_parts() -> None:
    for fields, parts in ((CODED, 3), ({}, 0)):
        world = World(Silent())
        assert world.inspection is not None
        tap = world.factory.open(b"POST", b"/mcp", CODED)
        assert tap is not None
        world.inspection.parts = 3
        tap.request_data(b"q")
        tap.response_head(200, fields)
        tap.response_data(b"r")
        tap.response_end()
        assert world.inspection.calls == [
            ("request_data", b"q", 7.5),
            ("response_head", 200, fields, 7.5),
            ("response_data", b"r", 7.5),
            *[("response_data", b"", 7.5)] * parts,
            ("response_end", 7.5),
        ]


def test_the_sockets_are_served_between_the_parts_and_nothing_overtakes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mcp_proxy_exporter.tap._MAX_BEHIND", 0)
    monkeypatch.setattr("mcp_proxy_exporter.tap._TURN", -1.0)
    world = World(Silent())
    assert world.inspection is not None
    factory, asked = later(world)
    tap = factory.open(b"POST", b"/mcp", {})
    assert tap is not None
    world.inspection.parts = 2
    went_on: list[int] = []
    tap.response_head(200, CODED)
    tap.response_data(b"one")
    tap.response_data(b"two")
    tap.when_even(lambda: went_on.append(len(asked)))
    for turn in range(5):
        assert len(asked) == turn + 1
        assert tap.behind
        assert went_on == []
        asked[turn]()
    assert went_on == [5]
    assert not tap.behind
    seen = [call[1] for call in world.inspection.calls]
    assert seen == [200, b"one", b"", b"", b"two"]


def test_a_fault_between_the_parts_ends_the_inspection() -> None:
    for broken in ("unfinished", "response_data"):
        inspection = Inspection([broken])
        world = World(inspection)
        factory, asked = later(world)
        tap = factory.open(b"POST", b"/mcp", {})
        assert tap is not None
        inspection.parts = 2
        tap.response_head(200, CODED)
        tap.response_data(b"r")
        tap.response_data(b"r")
        for turn in asked:
            turn()
        assert world.faults == ["response"]
        assert names_of(inspection) == ["response_head", "response_data", "aborted"]
        assert tap.steps == 0
        assert tap.waiting == 0


def test_an_exchange_is_behind_until_all_that_it_brought_was_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mcp_proxy_exporter.tap._MAX_BEHIND", 40_000)
    monkeypatch.setattr("mcp_proxy_exporter.tap._TURN", -1.0)
    world = World(Silent())
    factory, asked = later(world)
    tap = factory.open(b"POST", b"/mcp", {})
    assert tap is not None
    went_on: list[int] = []
    behind = []
    for data in (bytes(40_000), b"!"):
        tap.response_data(data)
        behind.append(tap.behind)
    assert behind == [False, True]
    tap.when_even(lambda: went_on.append(len(asked)))
    for turn in range(4):
        assert went_on == []
        asked[turn]()
    assert went_on == [4]
    assert not tap.behind
    tap.response_data(bytes(30_000))
    assert not tap.behind


def test_in_a_crowd_nobody_may_bring_more_while_his_own_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mcp_proxy_exporter.tap._CROWDED", 3)
    world = World(Silent())
    factory, asked = later(world)
    taps = [factory.open(b"POST", b"/mcp", {}) for _ in range(4)]
    for tap in taps:
        assert tap is not None
        assert not tap.behind
        tap.response_data(b"a")
    assert [tap.behind for tap in taps if tap is not None] == [True] * 4
    asked[0]()
    assert [tap.behind for tap in taps if tap is not None] == [False] * 4


def test_what_nobody_looks_at_any_more_holds_nothing_up() -> None:
    world = World(Inspection(["response_data"]))
    factory, asked = later(world)
    tap = factory.open(b"POST", b"/mcp", {})
    assert tap is not None
    tap.response_data(bytes(500_000))
    assert tap.behind
    went_on: list[bool] = []
    tap.when_even(lambda: went_on.append(True))
    asked[0]()
    assert world.faults == ["response"]
    assert went_on == [True]
    tap.response_data(bytes(500_000))
    assert not tap.behind


def test_a_clock_that_breaks_holds_nothing_up() -> None:
    world = World(Silent())
    factory, _ = later(world)
    tap = factory.open(b"POST", b"/mcp", {})
    assert tap is not None

    def break_down() -> float:
        raise OSError

    factory._clock = break_down
    tap.response_data(bytes(500_000))
    assert world.faults == ["response", "abort"]
    assert not tap.behind


def test_the_end_takes_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(enabled=False)
    factory, _ = later(world)
    monkeypatch.setattr("mcp_proxy_exporter.tap._LAST_SECONDS", 0.0)
    factory.report(event("late"))
    factory.close()
    assert world.told == ["closed 7.5"]


def test_long_bodies_are_looked_at_in_steps() -> None:
    inspection = Silent()
    tap = World(inspection).tap()
    tap.request_data(b"a" * 40_000)
    tap.response_data(b"b" * 16_385)
    assert [(call[0], len(str(call[1])) - 3) for call in inspection.calls] == [
        ("request_data", 16_384),
        ("request_data", 16_384),
        ("request_data", 7_232),
        ("response_data", 16_384),
        ("response_data", 1),
    ]
