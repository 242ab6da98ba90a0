"""What is counted per task of one server: calls that went on after their answer.

Knows how tasks end and under which tool they count; does not know which names are labels (`tools`)
nor how a task is followed through polls and notifications.
"""

from mcp_proxy_exporter.observe.series import Histograms, Store, Values
from mcp_proxy_exporter.observe.tools import ToolMetrics
from mcp_proxy_exporter.observe.words import TOOL_CALL
from mcp_proxy_exporter.protocol.events import Call, TaskClosed, TaskOpened, TaskOutcome


class TaskMetrics:
    """Counts the tasks of one server, by the tool whose call each of them answered.

    A tool's name is a label as in tool calls: here too success may admit it. What is no tool call
    has no tool's name, whatever it called itself, and counts with the rest.
    """

    def __init__(self, server: str, store: Store, tools: ToolMetrics) -> None:
        self._server = server
        self._tools = tools
        self._tasks = store.of(Values, "mcp_tasks_total")
        self._durations = store.of(Histograms, "mcp_task_duration_seconds")
        self._pending = store.of(Values, "mcp_tasks_pending").child(server)

    def opened(self, event: TaskOpened) -> None:
        """Count a task that begins."""
        self._pending.value += 1
        self._prepare(self._tools.find(_name(event.call)).label)

    def closed(self, event: TaskClosed) -> None:
        """Count a task that ended or was given up."""
        self._pending.value -= 1
        outcome = event.outcome
        succeeded = outcome is TaskOutcome.SUCCESS
        tool = self._tools.judge(_name(event.call), succeeded=succeeded).label
        self._prepare(tool)
        self._tasks.child(self._server, tool, outcome.value).value += 1
        # Nobody saw the end of such a task, so nobody knows how long it took.
        if outcome is not TaskOutcome.UNOBSERVED:
            self._durations.child(self._server, tool).observe(event.duration)

    def _prepare(self, tool: str) -> None:
        """Make the series of a tool at 0, so that a rate sees the first end of each kind."""
        for outcome in TaskOutcome:
            self._tasks.child(self._server, tool, outcome.value)


def _name(call: Call) -> str | None:
    return call.name if call.method == TOOL_CALL else None
