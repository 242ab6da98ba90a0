"""How clients find out a server's era: ``server/discover``, and ``initialize`` if that is refused.

Knows that a refusal followed by ``initialize`` is negotiation and no failure (2026-07-28
basic/versioning); does not know HTTP. The two requests have nothing in common but the client's
name.
"""

from typing import Final

# An SDK falls back at once; what comes later is another client of the same name.
FALLBACK_SECONDS: Final = 60.0
MAX_NAMES: Final = 1_000


class Negotiations:
    """The clients of one server whose ``server/discover`` was refused."""

    __slots__ = ("_refused",)

    def __init__(self) -> None:
        # By the client's name: how many, and when the last one was refused. Oldest first.
        self._refused: dict[str | None, tuple[int, float]] = {}

    def refuse(self, name: str | None, now: float) -> None:
        """Take a refusal."""
        count, _ = self._refused.pop(name, (0, now))
        self._refused[name] = (count + 1, now)
        if len(self._refused) > MAX_NAMES:
            del self._refused[next(iter(self._refused))]

    def fall_back(self, name: str | None, now: float) -> bool:
        """Take an ``initialize``: tell whether it follows a refusal."""
        for key in (name, None):  # the probe need not say who it is
            count, refused_at = self._refused.pop(key, (0, now))
            if count > 1:
                self._refused[key] = (count - 1, refused_at)
            if count and now - refused_at <= FALLBACK_SECONDS:
                return True
        return False

    def sweep(self, now: float) -> None:
        """Forget who never came back."""
        overdue = now - FALLBACK_SECONDS
        for name, (_, refused_at) in [*self._refused.items()]:
            if refused_at <= overdue:
                del self._refused[name]
