"""What a recorder knows of calls, sessions, streams and tasks.

Knows their times and ends; does not know how these are found out (`reckoning`).
"""

from dataclasses import dataclass, field
from typing import Any

from tests.support.recorded_http import Exchange

OTHER = "_other"
UNKNOWN = "_unknown"

Scope = tuple[str, object]
"""Where ids mean something: an endpoint, a session or one exchange."""


@dataclass(slots=True, kw_only=True)
class Call:
    """A request of a client."""

    method: str
    params: dict[str, Any]
    arguments: str
    """As they stand in the request; empty where there are none."""
    exchange: Exchange
    scope: Scope
    began: float
    client: str | None
    revision: str | None
    opened_as: str = ""
    """The tool's label when it began."""
    counted_as: str = ""
    """The tool's label when it ended."""
    prompt: str = ""
    first: float | None = None
    """When the first message of its answer was there."""
    ended: float | None = None
    outcome: str = ""
    code: int | None = None
    said: dict[str, Any] | None = None
    """Its response."""
    result: str | None = None
    """As it stands in the response."""
    soft: str | None = None
    """The reason for which a rule calls it a failure."""
    questions: list[list[float]] = field(default_factory=list)
    """When each question was asked and answered."""

    @property
    def tool(self) -> str | None:
        """The name that was called."""
        return self.params.get("name")

    @property
    def seconds(self) -> float:
        """How long it took."""
        assert self.ended is not None
        return self.ended - self.began

    @property
    def waited(self) -> float:
        """How much of that its client had something to answer."""
        assert self.ended is not None
        waited, until = 0.0, self.began
        for asked, answered in sorted((q[0], (q[1:] or [self.ended])[0]) for q in self.questions):
            waited += max(0.0, answered - max(asked, until))
            until = max(until, answered)
        return waited


@dataclass(slots=True)
class Stream:
    """A long-lived event stream."""

    kind: str
    began: float
    events: int = 0
    ended: float | None = None


@dataclass(slots=True)
class Session:
    """A session."""

    began: float
    ended: float | None = None
    reason: str = ""


@dataclass(slots=True)
class Task:
    """A call that went on after its answer."""

    tool: str
    began: float
    ended: float | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """How many names become labels, and how much is read."""

    largest: int
    listed: int
    called: int
    clients: int
    prompts: int
    sessions: int
