"""The fail-open seam: the only way from traffic to inspection.

Knows that inspection may be wrong, and when it is time for it; does not know what is inspected or
counted. The data plane hands bytes to the socket first and to the tap afterwards. No method here
raises, whatever breaks behind it: a fault costs a number (``on_fault``) and this exchange's
inspection, never a byte.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from mcp_proxy_exporter.protocol.events import Event
from mcp_proxy_exporter.protocol.outcome import Abort

Fields = Mapping[bytes, bytes]
"""Header fields by lower-case name; repeated ones joined by a comma."""


class Inspection(Protocol):
    """What a tap feeds: one HTTP exchange's inspection. ``now`` is monotonic seconds."""

    def request(self, data: bytes, now: float) -> Sequence[Event]:
        """Take the request's whole body and its end."""

    def response(self, status: int, fields: Fields, data: bytes, now: float) -> Sequence[Event]:
        """Take a whole response: its head, its body and its end."""

    def request_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Take request body bytes."""

    def request_end(self, now: float) -> Sequence[Event]:
        """Take the end of the request."""

    def response_head(self, status: int, fields: Fields, now: float) -> Sequence[Event]:
        """Take the final response head."""

    def response_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Take response body bytes."""

    def response_end(self, now: float) -> Sequence[Event]:
        """Take the end of a whole response."""

    def aborted(self, cause: Abort, now: float) -> Sequence[Event]:
        """Take the end of an exchange that broke."""

    def unfinished(self) -> bool:
        """Tell whether `response_data` left a part, to be looked at when given no bytes."""

    def awaits(self) -> bool:
        """Tell whether the answer to an open call may still come."""


class Inspecting(Protocol):
    """What opens inspections: one per configured server."""

    def open(self, method: bytes, target: bytes, fields: Fields) -> Inspection | None:
        """Begin an exchange; None where there is nothing to inspect."""

    def sweep(self, now: float) -> Sequence[Event]:
        """End what is overdue."""

    def close(self, now: float) -> Sequence[Event]:
        """End what waits, once every exchange is over."""


Step = Callable[..., Sequence[Event]]
"""A bound method of an `Inspection`."""


_TURN = 0.002
"""Seconds of looking after which sockets are served again."""
_MAX_QUEUED = 512
"""Steps that may wait; those beyond are looked at without a pause, so that memory stays bounded."""
_CROWDED = 128
"""Steps that wait in all from which on no exchange may bring more while any of its own wait."""
_MAX_BEHIND = 262_144
"""Bytes of one exchange that may wait before it may bring no more: one read of an event loop."""
_LAST_SECONDS = 0.5
"""For what is left when the process ends, and nobody asks for figures any more."""
_SLICE = 16_384
"""Bytes of a body looked at in one step: some 5 ms where a peer sends the dearest there is."""


class TapFactory:
    """Opens a tap for each HTTP exchange of one server, and reports the data plane's own facts.

    With ``later`` nothing is looked at while bytes wait: what was seen is queued and looked at in
    one go once the event loop has served every socket that was ready. Bytes pass sooner, and the
    work costs half as much as between two system calls, whose traces in the CPU's caches it would
    have to remove each time. Looking pauses for the sockets after `_TURN`.

    Some bytes cost more to look at than to send: an exchange that is `Tap.behind` has to be held
    until it is not, or its peer would hold up all others.
    """

    __slots__ = ("_asked", "_clock", "_emit", "_inspector", "_later", "_on_fault", "_queue")

    def __init__(
        self,
        inspector: Inspecting | None,
        emit: Callable[[Event], None],
        on_fault: Callable[[str], None],
        clock: Callable[[], float],
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """``inspector`` None switches inspection off; ``clock`` gives monotonic seconds.

        ``later`` calls a function soon, such as an event loop's ``call_soon``; None looks at once.
        """
        self._inspector = inspector
        self._emit = emit
        self._on_fault = on_fault
        self._clock = clock
        self._later = later
        self._queue: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._asked = False
        """A turn is to come."""

    @property
    def crowded(self) -> bool:
        """More waits than can be looked at soon."""
        return len(self._queue) > _CROWDED

    def open(self, method: bytes, target: bytes, fields: Fields) -> "Tap | None":
        """Return the tap of one exchange; None where there is nothing to inspect."""
        if self._inspector is None:
            return None
        try:
            inspection = self._inspector.open(method, target, fields)
        except Exception:  # noqa: BLE001  # the seam: no fault of inspection reaches traffic
            self._on_fault("open")
            return None
        if inspection is None:
            return None
        return Tap(self, inspection, coded=b"content-encoding" in fields)

    def report(self, event: Event) -> None:
        """Hand one fact to the sink, after those before it; a fault there is counted."""
        if self._later is None:
            self._tell((event,))
        else:
            self._put(self._tell, ((event,),))

    def add(
        self,
        tap: "Tap",
        stage: str,
        step: Step,
        *seen: object,
        last: bool = False,
        in_parts: bool = False,
    ) -> None:
        """Look at what a tap saw now, or later; ``last`` ends its exchange."""
        try:
            now = self._clock()
        except Exception:  # noqa: BLE001  # the seam
            self._stop(tap, stage)
            return
        act = self._look_last if last else self._look_in_parts if in_parts else self._look
        tap.steps += 1
        if self._later is None:
            act(tap, stage, step, (*seen, now))
        else:
            self._put(act, (tap, stage, step, (*seen, now)))

    def sweep(self) -> None:
        """End what is overdue: to be called every few seconds."""
        if self._inspector is None:
            return
        try:
            now = self._clock()
        except Exception:  # noqa: BLE001  # the seam
            self._on_fault("sweep")
            return
        if self._later is None:
            self._end("sweep", self._inspector.sweep, now)
        else:
            # In its turn: what was seen before may be what an overdue call waits for.
            self._put(self._end, ("sweep", self._inspector.sweep, now))

    def afterwards(self, act: Callable[[], object]) -> None:
        """Call something once all that was seen so far has been looked at."""
        if self._queue:
            self._queue.append((act, ()))
        else:
            act()

    def close(self) -> None:
        """End what waits for its client, once every exchange is over."""
        until = time.perf_counter() + _LAST_SECONDS
        while self._queue and time.perf_counter() < until:
            act, details = self._queue.popleft()
            act(*details)
        self._queue.clear()
        if self._inspector is None:
            return
        try:
            now = self._clock()
        except Exception:  # noqa: BLE001  # the seam
            self._on_fault("close")
        else:
            self._end("close", self._inspector.close, now)

    def _end(self, stage: str, step: Step, now: float) -> None:
        try:
            events = step(now)
        except Exception:  # noqa: BLE001  # the seam
            self._on_fault(stage)
        else:
            self._tell(events)

    def ask(self, inspection: Inspection) -> bool:
        """Tell whether an exchange may still bring the answer to an open call; it may, in doubt."""
        try:
            return inspection.awaits()
        except Exception:  # noqa: BLE001  # the seam
            self._on_fault("awaits")
            return True

    def _take_turn(self) -> None:
        """Look at what was queued for one turn, and leave the rest for the next."""
        queue = self._queue
        until = time.perf_counter() + _TURN
        while queue:
            act, details = queue.popleft()
            act(*details)
            if len(queue) <= _MAX_QUEUED and time.perf_counter() > until:
                break
        self._asked = False
        if queue:
            self._ask()

    def _put(self, act: Callable[..., object], details: tuple[object, ...]) -> None:
        self._queue.append((act, details))
        if not self._asked:
            self._ask()

    def _ask(self) -> None:
        if self._later is not None:
            self._asked = True
            self._later(self._take_turn)

    def _look(self, tap: "Tap", stage: str, step: Step, seen: tuple[object, ...]) -> None:
        tap.steps -= 1
        if tap.inspection is not None:
            try:
                events = step(*seen)
            except Exception:  # noqa: BLE001  # the seam: no fault of inspection reaches traffic
                self._stop(tap, stage)
            else:
                if events:
                    self._tell(events)
        if tap.waiting and not tap.steps:
            tap.catch_up()

    def _look_in_parts(self, tap: "Tap", stage: str, step: Step, seen: tuple[object, ...]) -> None:
        """Look at a few bytes that may hold much: a part now, the next before all that waits."""
        tap.steps += 1  # until all parts were looked at
        self._look(tap, stage, step, seen)
        rest = (tap, stage, step, (b"", seen[-1]))
        while self._has_more(tap, stage):
            if self._later is not None:
                self._queue.appendleft((self._look_in_parts, rest))
                return
            tap.steps += 1
            self._look(*rest)
        tap.steps -= 1
        if tap.waiting and not tap.steps:
            tap.catch_up()

    def _has_more(self, tap: "Tap", stage: str) -> bool:
        try:
            return tap.inspection is not None and tap.inspection.unfinished()
        except Exception:  # noqa: BLE001  # the seam
            self._stop(tap, stage)
            return False

    def _look_last(self, tap: "Tap", stage: str, step: Step, seen: tuple[object, ...]) -> None:
        self._look(tap, stage, step, seen)
        tap.inspection = None

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            try:
                self._emit(event)
            except Exception:  # noqa: BLE001  # the seam: no fault of a sink reaches traffic
                self._on_fault("sink")

    def _stop(self, tap: "Tap", stage: str) -> None:
        """Count a fault and end this exchange's inspection, closing the calls it had opened."""
        self._on_fault(stage)
        inspection, tap.inspection = tap.inspection, None
        if inspection is None or stage == "abort":
            return
        try:
            events = inspection.aborted(Abort.FAULT, self._clock())
        except Exception:  # noqa: BLE001  # the seam: broken twice
            self._on_fault("abort")
        else:
            self._tell(events)


class Tap:
    """One HTTP exchange's copy of the traffic.

    `response`, `response_end` or `aborted` ends it; what comes later is not looked at.
    """

    __slots__ = ("_coded", "_factory", "_go_on", "inspection", "steps", "waiting")

    def __init__(self, factory: TapFactory, inspection: Inspection, *, coded: bool) -> None:
        """``coded`` says that the request's body is compressed."""
        self._coded = coded
        """The body that passes is compressed: a few bytes of it may be dear to look at."""
        self._factory = factory
        self.inspection: Inspection | None = inspection
        """None after the end, or a fault."""
        self.steps = 0
        """How many wait to be looked at."""
        self.waiting = 0
        """Bytes of bodies that came since the last moment when nothing waited."""
        self._go_on: Callable[[], None] | None = None

    def request(self, data: bytes) -> None:
        """Look at a request body that was forwarded in one piece."""
        if self._coded:
            self.request_data(data)
            self.request_end()
        elif self.inspection is not None:
            self._factory.add(self, "request", self.inspection.request, data)

    def response(self, status: int, fields: Fields, data: bytes) -> None:
        """Look at a whole response that was forwarded in one piece."""
        if b"content-encoding" in fields:
            self.response_head(status, fields)
            self.response_data(data)
            self.response_end()
        elif self.inspection is not None:
            self._factory.add(
                self, "response", self.inspection.response, status, fields, data, last=True
            )

    def request_data(self, data: bytes) -> None:
        """Look at request body bytes that were forwarded."""
        if self.inspection is not None:
            self._look_in_steps("request", self.inspection.request_data, data)

    def request_end(self) -> None:
        """Note that the request is complete."""
        if self.inspection is not None:
            self._factory.add(self, "request", self.inspection.request_end)

    def response_head(self, status: int, fields: Fields) -> None:
        """Look at the final response head (never at an interim 1xx)."""
        self._coded = b"content-encoding" in fields
        if self.inspection is not None:
            self._factory.add(self, "response", self.inspection.response_head, status, fields)

    def response_data(self, data: bytes) -> None:
        """Look at response body bytes that were forwarded."""
        if self.inspection is not None:
            self._look_in_steps("response", self.inspection.response_data, data, self._coded)

    def response_end(self) -> None:
        """Note that the response was forwarded whole."""
        if self.inspection is not None:
            self._factory.add(self, "response", self.inspection.response_end, last=True)

    def awaits(self) -> bool:
        """Tell whether an answer may still come; it may while not all was looked at."""
        return self.inspection is None or self.steps > 0 or self._factory.ask(self.inspection)

    def aborted(self, cause: Abort) -> None:
        """Note that the exchange ended early."""
        if self.inspection is not None:
            self._factory.add(self, "abort", self.inspection.aborted, cause, last=True)

    # What is dear to look at

    @property
    def behind(self) -> bool:
        """More came than can be looked at soon: the exchange is to bring no more for now."""
        waiting = self.waiting
        return self.steps > 0 and (waiting > _MAX_BEHIND or (waiting > 0 and self._factory.crowded))

    def when_even(self, go_on: Callable[[], None]) -> None:
        """Call once all that came was looked at; to be asked of a tap that is behind."""
        self._go_on = go_on

    def catch_up(self) -> None:
        """Take note that all that came was looked at."""
        self.waiting = 0
        go_on, self._go_on = self._go_on, None
        if go_on is not None:
            go_on()

    def _look_in_steps(
        self,
        stage: str,
        step: Step,
        data: bytes,
        in_parts: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        self.waiting += len(data)
        for start in range(0, len(data), _SLICE):
            # A slice of everything is no copy.
            piece = data[start : start + _SLICE]
            self._factory.add(self, stage, step, piece, in_parts=in_parts)
            if self.inspection is None:
                break
        if not self.steps:
            self.waiting = 0
