"""How much inspection may hold in memory, and the account that several exchanges share.

Knows numbers; does not know what is held. Whatever goes over a limit is forwarded all the same:
limits end the judging of bytes, never their passage.
"""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one server's inspection.

    Nesting needs no number of its own: the JSON decoder stops at the interpreter's recursion limit
    (about 1 000 levels), and what is deeper counts as too large.
    """

    max_message_bytes: int = 4 * 1024 * 1024
    """One JSON body or the data of one event, after content decoding.

    4 MiB is the largest request body that the Python and TypeScript SDKs accept by default.
    """
    max_buffered_bytes: int = 32 * 1024 * 1024
    """All unfinished messages of all exchanges together: eight of the largest ones at once."""
    max_kept_bytes: int = 8 * 1024 * 1024
    """The requests of open calls that somebody wants to read once they are over, together.

    Apart from what is not finished, so that slow calls with large arguments leave room for it.
    """
    max_rule_bytes: int = 256 * 1024
    """A text of a call that somebody wants to read: reading 256 KiB of JSON takes up to 10 ms."""
    max_open_calls: int = 10_000
    """Calls in flight, suspended ones included. About 1 KiB each."""
    max_sessions: int = 10_000
    """Sessions that are remembered. About 1 KiB each, 3 KiB where they call 16 different tools."""
    max_tasks: int = 10_000
    """Tasks whose end nobody has seen yet."""
    suspended_seconds: float = 60.0
    """How long a call may wait for its client to resume, besides what the server asked it to wait.

    The SDKs come back after 1 to 30 s.
    """
    session_idle_seconds: float = 3600.0
    """How long a session may be silent before it is taken for gone: most clients never DELETE."""
    repeat_seconds: float = 300.0
    """How long ago a tool call may be to count as repeated by one that is just like it."""
    task_seconds: float = 3600.0
    """How long a task is waited for whose server names no time to live."""


class Budget:
    """An amount that many holders share. Whoever takes must give back as much."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self, amount: int) -> bool:
        """Reserve `amount`; False (and nothing reserved) if it is not there."""
        used = self.used + amount
        if used > self.limit:
            return False
        self.used = used
        return True

    def give(self, amount: int) -> None:
        """Return what was taken."""
        self.used -= amount
