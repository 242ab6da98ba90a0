"""Failures that call themselves success: the rules by which the operator tells them.

Knows when a rule is true of a call and which reasons become labels; does not know which calls to
look at (`rules`) nor what else is counted of them.
"""

from collections.abc import Sequence

from mcp_proxy_exporter.config.custom import SoftErrorSettings
from mcp_proxy_exporter.config.expression import compile_expression, is_true
from mcp_proxy_exporter.observe.custom import Skips
from mcp_proxy_exporter.observe.facts import Facts, Reading, find_needs
from mcp_proxy_exporter.observe.labels import label_text
from mcp_proxy_exporter.observe.series import Store, Values
from mcp_proxy_exporter.observe.words import MAX_SOFT_ERROR_REASONS, OTHER, SOFT_ERROR_MATCHED

FAMILY = "mcp_tool_soft_errors_total"
# They need no place among those that are told apart.
_FIXED_REASONS = frozenset({SOFT_ERROR_MATCHED, OTHER})


class SoftErrorRule:
    """One configured rule."""

    def __init__(self, settings: SoftErrorSettings) -> None:
        self.settings = settings
        self._when = compile_expression(settings.when)
        self._reason = None if settings.reason is None else compile_expression(settings.reason)
        self.needs = find_needs(self.members)
        """The texts of a call without which it cannot be judged."""

    @property
    def members(self) -> frozenset[str]:
        """What its expressions ask of a call."""
        return self._when.members | (self._reason.members if self._reason else frozenset())

    def judge(self, facts: Facts) -> object:
        """Return the reason why a call failed, None where the rule does not say so.

        Raises whatever JMESPath raises.
        """
        if not is_true(self._when.evaluate(facts)):
            return None
        reason = None if self._reason is None else self._reason.evaluate(facts)
        return SOFT_ERROR_MATCHED if reason is None else reason


class SoftErrors:
    """Tells and counts the soft errors of one server that has rules for them."""

    def __init__(
        self, rules: Sequence[SoftErrorSettings], server: str, store: Store, max_length: int
    ) -> None:
        self.rules = tuple(map(SoftErrorRule, rules))
        self.skips = Skips(store, FAMILY)
        if rules:
            self.skips.prepare()
        self._server = server
        self._max_length = max_length
        self._errors = store.of(Values, FAMILY)
        self._reasons: set[str] = set()

    def judge(self, rules: tuple[SoftErrorRule, ...], call: Reading) -> str | None:
        """Return the label of the reason that the first rule gives which is true of a call."""
        for rule in rules:
            gap = rule.needs.find_gap(call)
            if gap is not None:
                self.skips.add(gap)
                continue
            try:
                reason = rule.judge(call.facts)
            except Exception:  # noqa: BLE001  # what an expression raises is its own business
                self.skips.add("expression_failed")
                continue
            if reason is not None:
                return self._label(reason)
        return None

    def count(self, tool: str, reason: str) -> None:
        """Count a soft error under the label of its tool."""
        self._errors.child(self._server, tool, reason).value += 1

    def _label(self, reason: object) -> str:
        label = label_text(reason, self._max_length)
        if label not in self._reasons and label not in _FIXED_REASONS:
            if len(self._reasons) >= MAX_SOFT_ERROR_REASONS:
                return OTHER
            self._reasons.add(label)
        return label
