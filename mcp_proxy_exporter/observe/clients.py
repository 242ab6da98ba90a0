"""What is counted per client of one server: who sends requests, in which revision of MCP.

Knows which client names and revisions are labels; does not know what the requests ask for
(`calls`) nor in which session they come (`sessions`).
"""

from collections.abc import Mapping
from types import MappingProxyType

from mcp_proxy_exporter.observe.labels import ClientNames
from mcp_proxy_exporter.observe.series import Store, Value, Values
from mcp_proxy_exporter.observe.words import OTHER, PROTOCOL_VERSIONS, UNKNOWN
from mcp_proxy_exporter.protocol.events import Client, EraFellBack

_VERSION_LABELS: Mapping[str | None, str] = MappingProxyType(
    {None: UNKNOWN, **{version: version for version in sorted(PROTOCOL_VERSIONS)}}
)


class ClientMetrics:
    """Counts the requests of one server's clients."""

    def __init__(self, server: str, store: Store, names: ClientNames) -> None:
        self.names = names
        self.known: dict[Client, Value] = {}
        """The series of clients that came before: whoever counts a request looks here first.

        Holds admitted names as they are shown, each with revisions of the closed list, and so no
        more than the cap says, and no long text. Whoever invents names or versions takes `find`.
        """
        self._server = server
        self._requests = store.of(Values, "mcp_client_requests_total")
        self._fallbacks = store.of(Values, "mcp_era_fallbacks_total").child(server)
        self._overflow = store.of(Values, "mcp_proxy_label_overflow_total").child(server, "client")

    def find(self, client: Client) -> Value:
        """Return the series of a client that is not known yet, for one request to be counted."""
        name = UNKNOWN if client.name is None else self.names.admit(client.name)
        version = _VERSION_LABELS.get(client.protocol_version)
        if name is None:
            self._overflow.value += 1
        requests = self._requests.child(self._server, name or OTHER, version or OTHER)
        if name is not None and version is not None and client.name in (None, name):
            self.known[client] = requests
        return requests

    def fell_back(self, _event: EraFellBack) -> None:
        """Count a client that went on in an older revision."""
        self._fallbacks.value += 1
