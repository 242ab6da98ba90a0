"""The operator's rules about tool calls: which calls they look at, and in which order they act.

Knows which rules concern a server and a tool; does not know what a rule does (`custom`,
`softerrors`). A call that no rule concerns costs a lookup, and nothing of it is read.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache

import msgspec

from mcp_proxy_exporter.config.custom import CustomMetricSettings, SoftErrorSettings
from mcp_proxy_exporter.config.globs import matches
from mcp_proxy_exporter.config.interpreter import INTERPRETER
from mcp_proxy_exporter.observe.custom import AllLabelSets, CustomMetric, make_metrics
from mcp_proxy_exporter.observe.facts import Needs, Reading, find_needs, read_call
from mcp_proxy_exporter.observe.series import Store
from mcp_proxy_exporter.observe.softerrors import SoftErrorRule, SoftErrors
from mcp_proxy_exporter.observe.tools import ToolMetrics
from mcp_proxy_exporter.observe.words import TOOL_CALL
from mcp_proxy_exporter.protocol.events import CallClosed
from mcp_proxy_exporter.protocol.outcome import Outcome

# Names whose rules are remembered, whoever made them up: to match globs costs a few us a rule.
_REMEMBERED_NAMES = 2048


class _Plan(msgspec.Struct, frozen=True):
    """What concerns the calls of one tool."""

    soft_errors: tuple[SoftErrorRule, ...]
    metrics: tuple[CustomMetric, ...]
    needs: Needs


class CallRules:
    """The rules of one server."""

    def __init__(
        self,
        server: str,
        store: Store,
        tools: ToolMetrics,
        metrics: Iterable[CustomMetricSettings],
        soft_errors: Iterable[SoftErrorSettings],
    ) -> None:
        max_length = tools.names.max_length
        own = [metric for metric in metrics if matches(metric.servers, server)]
        rules = [rule for rule in soft_errors if matches(rule.servers, server)]
        self._tools = tools
        self._metrics = make_metrics(own, server, store, max_length)
        self.label_sets = AllLabelSets(self._metrics)
        """What became of the custom metrics' labels."""
        self._soft_errors = SoftErrors(rules, server, store, max_length)
        self._find = lru_cache(maxsize=_REMEMBERED_NAMES)(self._plan)

    def __bool__(self) -> bool:
        """Tell whether there is any rule."""
        return bool(self._metrics or self._soft_errors.rules)

    def wants(self, tool: str | None) -> bool:
        """Tell whether the texts of a tool's calls are to be kept."""
        plan = None if tool is None else self._find(tool)
        return plan is not None and (plan.needs.request or plan.needs.response)

    def find_metrics(self, tool: str) -> tuple[str, ...]:
        """Return the names of the custom metrics that concern a tool."""
        plan = self._find(tool)
        return () if plan is None else tuple(metric.settings.name for metric in plan.metrics)

    def precede(self, closed: Callable[[CallClosed], None]) -> Callable[[CallClosed], None]:
        """Return what judges a call before the given handler counts it, and then counts itself."""

        def handle(event: CallClosed) -> None:
            call = event.call
            plan = None
            if call.method == TOOL_CALL and call.name is not None:
                plan = self._find(call.name)
            if plan is None:
                closed(event)
            else:
                self._apply(plan, event, closed)

        return handle

    def _apply(self, plan: _Plan, event: CallClosed, closed: Callable[[CallClosed], None]) -> None:
        INTERPRETER.begin()
        judged, reason = event, None
        try:
            reading = self._read(plan, event)
            if plan.soft_errors and event.outcome is Outcome.SUCCESS:
                reason = self._soft_errors.judge(plan.soft_errors, reading)
            if reason is not None:
                judged = msgspec.structs.replace(event, outcome=Outcome.TOOL_ERROR)
                reading.facts["outcome"] = judged.outcome.value
        except Exception:
            # A fault of ours: the call has ended all the same, and must not stay in flight. The
            # tap counts the fault.
            closed(event)
            raise
        # Before the rest: a call's success may admit its tool's name.
        closed(judged)
        tool = self._tools.find(event.call.name).label
        if reason is not None:
            self._soft_errors.count(tool, reason)
        for metric in plan.metrics:
            metric.count(reading, tool)

    def _read(self, plan: _Plan, event: CallClosed) -> Reading:
        # As the durations of calls: without the time that the client took, and not below 0.
        duration = max(0.0, event.at - event.call.opened_at - event.waited)
        return read_call(event, duration, plan.needs)

    def _plan(self, tool: str) -> _Plan | None:
        rules = tuple(
            rule for rule in self._soft_errors.rules if matches(rule.settings.tools, tool)
        )
        metrics = tuple(metric for metric in self._metrics if matches(metric.settings.tools, tool))
        if not rules and not metrics:
            return None
        members = frozenset[str]().union(
            *(rule.members for rule in rules), *(metric.members for metric in metrics)
        )
        return _Plan(rules, metrics, find_needs(members))
