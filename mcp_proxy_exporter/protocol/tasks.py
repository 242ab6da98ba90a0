"""The tasks of one server, from the call that was answered by one to the first sign of its end.

Knows both forms: the experimental core of 2025-11-25 (``result.task``, ``tasks/result``) and the
extension of 2026-07-28 (flat results, payloads within ``tasks/get``). Judges an end by its payload,
because ``failed`` includes ``isError`` in the one and not in the other. Does not know exchanges:
task ids span sessions, connections and restarts of clients.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from mcp_proxy_exporter.protocol.calls import OpenCall
from mcp_proxy_exporter.protocol.events import Call, Event, TaskClosed, TaskOpened, TaskOutcome
from mcp_proxy_exporter.protocol.ids import MAX_TEXT
from mcp_proxy_exporter.protocol.jsonrpc import Message
from mcp_proxy_exporter.protocol.limits import Limits
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.params import Params

# Past a task's time to live, in which its client may still ask and be told that it is gone.
_GRACE: Final = 60.0
# No server means longer, and what it says is a promise to its clients, not to us.
_MAX_SECONDS: Final = 7 * 86_400.0
# JSON-RPC's "invalid params", which all servers answer for a task that they do not know.
_UNKNOWN_TASK: Final = -32602

# The outcomes of requests that were answered by a task.
_ANSWERED: Final = frozenset({Outcome.SUCCESS, Outcome.TOOL_ERROR})
# A list of them beyond is not read: 100 ms for the largest message.
_MAX_LIST: Final = 512 * 1024

_METHODS_TO_READ: Final = frozenset({"tasks/get", "tasks/cancel"})


class _Task(msgspec.Struct, gc=False, frozen=True):
    """A task as it appears everywhere, in either form."""

    id: str = msgspec.field(name="taskId")
    status: str | None = None
    ttl: msgspec.Raw = msgspec.Raw(b"")
    ttl_ms: msgspec.Raw = msgspec.field(name="ttlMs", default=msgspec.Raw(b""))
    result: msgspec.Raw = msgspec.Raw(b"")


class _Created(msgspec.Struct, gc=False, frozen=True):
    """The result that creates a task in 2025-11-25."""

    task: _Task


class _List(msgspec.Struct, gc=False, frozen=True):
    """The result of ``tasks/list``."""

    tasks: list[_Task]


class _Payload(msgspec.Struct, gc=False, frozen=True):
    is_error: bool | None = msgspec.field(name="isError", default=None)


_decode_number = msgspec.json.Decoder(float | None).decode
_decode_task = msgspec.json.Decoder(_Task).decode
_decode_created = msgspec.json.Decoder(_Created).decode
_decode_list = msgspec.json.Decoder(_List).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode


class _Pending(msgspec.Struct, gc=False):
    call: Call
    patience: float
    """Seconds after the last sign of life."""
    deadline: float


class Tasks:
    """The tasks whose end nobody has seen yet."""

    __slots__ = ("_limits", "_pending")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pending: dict[str, _Pending] = {}  # by task id, oldest first

    def create(self, call: Call, result: msgspec.Raw, now: float) -> Sequence[Event]:
        """Take the answer that creates a task."""
        task = _read_created(result)
        if task is None:
            return ()
        key = task.id[:MAX_TEXT]
        events: list[Event] = []
        if key in self._pending:  # the id of another one: its end cannot be told any more
            events.append(self._end(key, TaskOutcome.UNOBSERVED, now))
        elif len(self._pending) >= self._limits.max_tasks:
            events.append(self._end(next(iter(self._pending)), TaskOutcome.UNOBSERVED, now))
        patience = self._time_to_live(task)
        self._pending[key] = _Pending(call, patience, now + patience)
        return [*events, TaskOpened(call), *self._observe(task, now)]

    def read_answer(
        self, opened: OpenCall, message: Message, outcome: Outcome, now: float
    ) -> Sequence[Event]:
        """Take the answer to a ``tasks/…`` request."""
        method = opened.call.method
        if message.error is not None:
            return self._read_error(opened, message, outcome, now)
        if outcome not in _ANSWERED:
            return ()
        if method == "tasks/result":
            return self._read_result(opened, outcome, now)
        try:
            if method == "tasks/list" and len(message.result) <= _MAX_LIST:
                tasks = _decode_list(message.result).tasks
            elif method in _METHODS_TO_READ:
                tasks = [_decode_task(message.result)]
            else:
                return ()
        except (ValueError, RecursionError):  # no task, as in the extension's answer to a cancel
            return ()
        return [event for task in tasks for event in self._observe(task, now)]

    def notice(self, params: Params, now: float) -> Sequence[Event]:
        """Take a notification about a task."""
        if params.task_id is None:
            return ()
        task = _Task(params.task_id, params.status, result=params.result)
        return self._observe(task, now)

    def sweep(self, now: float) -> Sequence[Event]:
        """Give up what is overdue."""
        overdue = [key for key, task in self._pending.items() if task.deadline <= now]
        return [self._end(key, TaskOutcome.UNOBSERVED, now) for key in overdue]

    def _time_to_live(self, task: _Task) -> float:
        """Return seconds."""
        milliseconds = _read_number(task.ttl_ms)
        if milliseconds is None:
            milliseconds = _read_number(task.ttl)
        if milliseconds is None:  # unlimited
            return self._limits.task_seconds
        return min(max(milliseconds, 0.0) / 1000 + _GRACE, _MAX_SECONDS)

    def _observe(self, task: _Task, now: float) -> Sequence[Event]:
        """Look at the state of a task."""
        key = task.id[:MAX_TEXT]
        pending = self._pending.get(key)
        if pending is None:
            return ()
        outcome = _judge(task)
        if outcome is not None:
            return (self._end(key, outcome, now),)
        # It is being watched: its end will be seen, however long that takes.
        pending.deadline = now + pending.patience
        return ()

    def _read_result(self, opened: OpenCall, outcome: Outcome, now: float) -> Sequence[Event]:
        """Take the payload: exactly what the call would have been answered (2025-11-25)."""
        key = opened.task_id
        if key is None or key not in self._pending:
            return ()
        failed = outcome is Outcome.TOOL_ERROR
        return (self._end(key, TaskOutcome.TOOL_ERROR if failed else TaskOutcome.SUCCESS, now),)

    def _read_error(
        self, opened: OpenCall, message: Message, outcome: Outcome, now: float
    ) -> Sequence[Event]:
        key = opened.task_id
        method = opened.call.method
        if key is None or key not in self._pending or outcome is not Outcome.PROTOCOL_ERROR:
            return ()
        code = None if message.error is None else message.error.code
        if method == "tasks/get" and code == _UNKNOWN_TASK:
            return (self._end(key, TaskOutcome.EXPIRED, now),)
        if method == "tasks/result":
            # The error that the call itself would have had, which may have the same code.
            text = "" if message.error is None else message.error.message or ""
            unknown = code == _UNKNOWN_TASK and "task" in text.lower()
            outcome_of_task = TaskOutcome.EXPIRED if unknown else TaskOutcome.FAILED
            return (self._end(key, outcome_of_task, now),)
        return ()

    def _end(self, key: str, outcome: TaskOutcome, now: float) -> TaskClosed:
        call = self._pending.pop(key).call
        return TaskClosed(call, outcome, now - call.opened_at)


def _judge(task: _Task) -> TaskOutcome | None:
    """Say how a task ended; None while it goes on."""
    if task.status == "cancelled":
        return TaskOutcome.CANCELLED
    if task.status not in {"completed", "failed"}:
        return None
    if len(task.result):
        try:
            failed = _decode_payload(task.result).is_error
        except (ValueError, RecursionError):
            failed = None
        if failed:
            return TaskOutcome.TOOL_ERROR
    return TaskOutcome.SUCCESS if task.status == "completed" else TaskOutcome.FAILED


def _read_created(result: msgspec.Raw) -> _Task | None:
    try:
        return _decode_created(result).task
    except (ValueError, RecursionError):
        pass
    try:
        return _decode_task(result)
    except (ValueError, RecursionError):
        return None


def _read_number(raw: msgspec.Raw) -> float | None:
    try:
        number: float | None = _decode_number(raw)
    except ValueError:  # absent, or no number
        return None
    return number
