"""The fault matrix: what can break upstream, and what has to follow from it, as a table.

Knows each fault by what the upstream does, and the rules by which status, reason, outcome and the
number of arrivals follow; does not know the product, nor how a cell is played (`fault_play`).

The rules are docs/server-behavior.md and docs/metrics.md said once more, apart from the code.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from itertools import product

from tests.support.fault_messages import CALLS, Answer, Request
from tests.support.fault_scripts import Part, Script, play, whole


class Stage(Enum):
    """When a fault happens."""

    CONNECT = auto()
    """No connection comes about."""
    ACCEPT = auto()
    """It comes about and is lost at once: seen as either."""
    IDLE = auto()
    """A kept connection is spoilt before the request."""
    HEAD = auto()
    """The request is there, and no head of an answer comes."""
    BODY = auto()
    """The head is out, and the body breaks."""
    ANSWER = auto()
    """A whole answer to HTTP, whatever it is worth to the call."""


class Connection(StrEnum):
    """Which connection to the upstream the request takes."""

    NEW = "new"
    KEPT = "kept"


class Limit(StrEnum):
    """The setting that ends the fault, where nothing else does."""

    NONE = ""
    CONNECT = "connect"
    RESPONSE_HEAD = "response_head"
    TOTAL = "total"
    HEAD_BYTES = "head_bytes"
    HEAD_FIELDS = "head_fields"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row."""

    name: str
    stage: Stage
    script: Script = field(default=play())
    """What the upstream does to the request; nothing where its place is at fault."""
    reasons: tuple[str, ...] = ()
    """Labels of mcp_upstream_failures_total, one of which it counts under; none: no failure."""
    status: int = 200
    """What the upstream answers, once it does."""
    outcomes: Mapping[Answer, str] = field(default_factory=dict)
    """What it means for a call, by the kind of answer; else it follows from the reason."""
    requests: frozenset[Request] = frozenset(Request)
    repeatable: bool = False
    """Not a byte of an answer came, and the end was seen."""
    limit: Limit = Limit.NONE
    body: Part = whole
    """What arrives of an answer's body, without its framing."""
    place: str = "plain"
    """Where the upstream is (`fault_places`)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination."""

    fault: Fault
    answer: Answer
    connection: Connection
    request: Request

    def __str__(self) -> str:
        return f"{self.fault.name}-{self.answer}-{self.connection}-{self.request}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What has to follow."""

    status: int
    own: bool
    """It is the proxy's own answer."""
    cut: bool
    """The body ends without a proper end, and the client's connection with it."""
    reasons: tuple[str, ...]
    outcomes: tuple[str, ...]
    """Of the call, in the order of ``reasons``; empty where the request is no call."""
    arrivals: int
    """How often the upstream reads the request's head."""
    keeps_client: bool
    limit: Limit
    up: float | None
    """What mcp_upstream_up says afterwards; None where it says nothing yet."""


UNREACHABLE = ("connect_refused", "connect_timeout", "connect_failed", "dns", "tls")
TIMEOUTS = ("response_timeout", "total_timeout")
STILL_UP = ("truncated", "total_timeout")
"""Reasons that say that the upstream does answer (docs/metrics.md, mcp_upstream_up)."""
FIRST_REFUSAL = 400


def outcome_of(reason: str) -> str:
    """Say what a failure of the upstream means for the call."""
    if reason in UNREACHABLE:
        return "upstream_unreachable"
    return "upstream_timeout" if reason in TIMEOUTS else "upstream_closed"


def expect(cell: Cell) -> Expected:
    """Say what has to follow in one cell."""
    fault, request, stage = cell.fault, cell.request, cell.fault.stage
    # RFC 9110 section 9.2.2: a safe request, on a kept connection, without a byte of an answer.
    is_repeated = (
        fault.repeatable and cell.connection is Connection.KEPT and request is Request.STREAM
    )
    reasons = () if is_repeated else fault.reasons
    is_answered = not reasons or stage is Stage.BODY
    cut = stage is Stage.BODY
    is_early = request is Request.UPLOAD and is_answered and stage is not Stage.IDLE
    gateway = 504 if reasons and reasons[0] in TIMEOUTS else 502
    return Expected(
        status=fault.status if is_answered else gateway,
        own=not is_answered,
        cut=cut,
        reasons=reasons,
        outcomes=_judge(cell, reasons),
        arrivals=0 if stage in (Stage.CONNECT, Stage.ACCEPT) else 1 + is_repeated,
        # An answer before its request is whole ends the connection; so does one that is cut.
        keeps_client=not (cut or is_early),
        limit=fault.limit,
        up=_judge_upstream(cell, reasons, is_answered=is_answered),
    )


def _judge_upstream(cell: Cell, reasons: tuple[str, ...], *, is_answered: bool) -> float | None:
    if reasons and reasons[0] not in STILL_UP:
        return 0
    return 1 if is_answered or cell.connection is Connection.KEPT else None


def _judge(cell: Cell, reasons: tuple[str, ...]) -> tuple[str, ...]:
    fault = cell.fault
    if cell.request not in CALLS:
        return ()
    if cell.request is Request.UPLOAD and fault.stage is Stage.BODY:
        return ()  # no request before it was read whole (docs/calls.md), and it never was
    if cell.answer in fault.outcomes:
        outcome = fault.outcomes[cell.answer]
        if cell.request is Request.UPLOAD and (outcome, cell.answer) == ("success", Answer.EVENTS):
            # An event is read when it comes, and this one comes before its call is known.
            outcome = "upstream_closed"
        return (outcome,)
    return tuple(map(outcome_of, reasons)) or ("success",)


def explain_absence(cell: Cell) -> str:
    """Say why a combination is no cell; empty where it is one."""
    fault, stage, request = cell.fault, cell.fault.stage, cell.request
    is_kept, answer = cell.connection is Connection.KEPT, cell.answer
    rules = {
        "the fault is one of other requests": request not in fault.requests,
        "a kept connection is not opened": is_kept and stage in (Stage.CONNECT, Stage.ACCEPT),
        "a new connection was never idle": not is_kept and stage is Stage.IDLE,
        "the fault leaves no such answer": answer not in kinds_of(fault),
        "a DELETE is not answered by events": (
            request is Request.DELETE and answer is Answer.EVENTS
        ),
        "a GET is answered by events, or refused": (
            request is Request.STREAM and answer is Answer.JSON and fault.status < FIRST_REFUSAL
        ),
    }
    return next((reason for reason, applies in rules.items() if applies), "")


def kinds_of(fault: Fault) -> frozenset[Answer]:
    """Say which kinds of answer a fault may strike."""
    return frozenset(fault.outcomes) or frozenset({Answer.NONE})


def combine(faults: tuple[Fault, ...]) -> Iterator[Cell]:
    """Combine everything with everything."""
    for fault, answer, connection, request in product(faults, Answer, Connection, Request):
        yield Cell(fault, answer, connection, request)
