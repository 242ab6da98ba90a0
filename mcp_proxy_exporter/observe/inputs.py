"""What is counted per question that one server asks its clients: sampling, elicitation, roots.

Knows who was asked for what and how long the answer took; does not know which call waited for it:
`CallClosed.waited` says that, and `calls` keeps it out of the server's time.
"""

from mcp_proxy_exporter.observe.series import Histograms, Store, Values
from mcp_proxy_exporter.observe.words import OTHER
from mcp_proxy_exporter.protocol.events import Delivery, InputAnswered, InputRequested
from mcp_proxy_exporter.protocol.inputs import INPUT_METHODS


class InputMetrics:
    """Counts the questions of one server, and times their answers."""

    def __init__(self, server: str, store: Store) -> None:
        self._server = server
        self._requests = store.of(Values, "mcp_input_requests_total")
        self._durations = store.of(Histograms, "mcp_input_request_duration_seconds")
        # At 0 before the first question, so that a rate sees it.
        for method in sorted(INPUT_METHODS):
            for delivery in Delivery:
                self._requests.child(server, method, delivery.value)

    def requested(self, event: InputRequested) -> None:
        """Count a question."""
        delivery = event.delivery.value
        self._requests.child(self._server, _label(event.method), delivery).value += 1

    def answered(self, event: InputAnswered) -> None:
        """Time an answer."""
        self._durations.child(self._server, _label(event.method)).observe(event.duration)


def _label(method: str) -> str:
    return method if method in INPUT_METHODS else OTHER
