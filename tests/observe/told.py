"""Calls that say something, and what a scrape says of those that could not be counted."""

import json
from collections.abc import Mapping

from mcp_proxy_exporter.observe.words import SKIP_REASONS
from mcp_proxy_exporter.protocol.events import Call, CallClosed, CallOpened, Client, Transcript
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import Figures

SKIPS = "mcp_proxy_custom_metric_skips_total"


def call(
    arguments: object = None,
    result: object = None,
    *,
    tool: str = "nap",
    outcome: Outcome = Outcome.SUCCESS,
    client: str | None = "desk",
) -> tuple[CallOpened, CallClosed]:
    """Return the events of a call that took a quarter of a second."""
    begun = Call("tools/call", tool, 10.0, Client(client))
    request = json.dumps({"params": {"name": tool, "arguments": arguments}}).encode()
    response = json.dumps({"result": result}).encode()
    closed = CallClosed(begun, outcome, 10.25, 10.1, 300, transcript=Transcript(request, response))
    return CallOpened(begun), closed


def skipped(figures: Figures, name: str = "x") -> Mapping[str, float]:
    """Return why samples were skipped, and how often."""
    counts = {reason: figures(SKIPS, metric=name, reason=reason) for reason in SKIP_REASONS}
    assert None not in counts.values()
    return {reason: number for reason, number in counts.items() if number}
