"""The fail-open seam: the only way from traffic to inspection.

Knows that inspection may be wrong; does not know what is inspected or counted. The data plane hands
bytes to the socket first and to the tap afterwards. No method here raises, whatever breaks behind
it: a fault costs a number (``on_fault``) and this exchange's inspection, never a byte.
"""

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


class Inspecting(Protocol):
    """What opens inspections: one per configured server."""

    def open(self, method: bytes, target: bytes, fields: Fields) -> Inspection | None:
        """Begin an exchange; None where there is nothing to inspect."""


class TapFactory:
    """Opens a tap for each HTTP exchange of one server, and reports the data plane's own facts."""

    __slots__ = ("_clock", "_emit", "_inspector", "_on_fault")

    def __init__(
        self,
        inspector: Inspecting | None,
        emit: Callable[[Event], None],
        on_fault: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """``inspector`` None switches inspection off; ``clock`` gives monotonic seconds."""
        self._inspector = inspector
        self._emit = emit
        self._on_fault = on_fault
        self._clock = clock

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
        return Tap(inspection, self._emit, self._on_fault, self._clock)

    def report(self, event: Event) -> None:
        """Hand one fact to the sink; a fault there is counted as stage ``sink``."""
        try:
            self._emit(event)
        except Exception:  # noqa: BLE001  # the seam: no fault of a sink reaches traffic
            self._on_fault("sink")


class Tap:
    """One HTTP exchange's copy of the traffic. Exactly one of its last two methods ends it."""

    __slots__ = ("_clock", "_emit", "_inspection", "_on_fault")

    def __init__(
        self,
        inspection: Inspection,
        emit: Callable[[Event], None],
        on_fault: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._inspection: Inspection | None = inspection
        self._emit = emit
        self._on_fault = on_fault
        self._clock = clock

    def request(self, data: bytes) -> None:
        """Look at a request body that was forwarded in one piece."""
        if self._inspection is not None:
            try:
                events = self._inspection.request(data, self._clock())
            except Exception:  # noqa: BLE001  # the seam
                events = self._stop("request")
            if events:
                self._tell(events)

    def response(self, status: int, fields: Fields, data: bytes) -> None:
        """Look at a whole response that was forwarded in one piece; ends the exchange."""
        if self._inspection is not None:
            try:
                events = self._inspection.response(status, fields, data, self._clock())
            except Exception:  # noqa: BLE001  # the seam
                events = self._stop("response")
            self._inspection = None
            self._tell(events)

    def request_data(self, data: bytes) -> None:
        """Look at request body bytes that were forwarded."""
        if self._inspection is not None:
            try:
                events = self._inspection.request_data(data, self._clock())
            except Exception:  # noqa: BLE001  # the seam
                events = self._stop("request")
            if events:
                self._tell(events)

    def request_end(self) -> None:
        """Note that the request is complete."""
        if self._inspection is not None:
            try:
                events = self._inspection.request_end(self._clock())
            except Exception:  # noqa: BLE001  # the seam
                events = self._stop("request")
            if events:
                self._tell(events)

    def response_head(self, status: int, fields: Fields) -> None:
        """Look at the final response head (never at an interim 1xx)."""
        if self._inspection is not None:
            try:
                events = self._inspection.response_head(status, fields, self._clock())
            except Exception:  # noqa: BLE001  # the seam
                events = self._stop("response")
            if events:
                self._tell(events)

    def response_data(self, data: bytes) -> None:
        """Look at response body bytes that were forwarded."""
        if self._inspection is not None:
            try:
                events = self._inspection.response_data(data, self._clock())
            except Exception:  # noqa: BLE001  # the seam
                events = self._stop("response")
            if events:
                self._tell(events)

    def response_end(self) -> None:
        """Note that the response was forwarded whole."""
        if self._inspection is not None:
            try:
                events = self._inspection.response_end(self._clock())
            except Exception:  # noqa: BLE001  # the seam
                events = self._stop("response")
            self._inspection = None
            self._tell(events)

    def aborted(self, cause: Abort) -> None:
        """Note that the exchange ended early."""
        if self._inspection is not None:
            try:
                events = self._inspection.aborted(cause, self._clock())
            except Exception:  # noqa: BLE001  # the seam
                events = self._stop("abort")
            self._inspection = None
            self._tell(events)

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            try:
                self._emit(event)
            except Exception:  # noqa: BLE001  # the seam: no fault of a sink reaches traffic
                self._on_fault("sink")

    def _stop(self, stage: str) -> Sequence[Event]:
        """Count a fault and end this exchange's inspection, closing the calls it had opened."""
        self._on_fault(stage)
        inspection, self._inspection = self._inspection, None
        if inspection is None or stage == "abort":
            return ()
        try:
            return inspection.aborted(Abort.FAULT, self._clock())
        except Exception:  # noqa: BLE001  # the seam: broken twice
            self._on_fault("abort")
            return ()
