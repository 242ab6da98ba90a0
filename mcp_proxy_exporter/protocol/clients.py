"""Who sends requests: one object for each description, however many requests and sessions have it.

Knows clients by what they say of themselves; does not know who is honest. Descriptions are compared
by whoever counts, many times more often than they are made, and the same object is the fastest
comparison.
"""

from typing import Final

from mcp_proxy_exporter.protocol.events import Client
from mcp_proxy_exporter.protocol.ids import MAX_ID, MAX_TEXT

# Far more than there are programs; whoever invents more pays for the comparison.
MAX_CLIENTS: Final = 1_000


class Clients:
    """The clients of one server."""

    __slots__ = ("_by_version", "_known")

    def __init__(self) -> None:
        self._known: dict[Client, Client] = {}
        self._by_version: dict[bytes | None, Client] = {}

    def share(self, client: Client) -> Client:
        """Return the one object that describes a client as this one does."""
        known = self._known.get(client)
        if known is None:
            known = client
            if len(self._known) < MAX_CLIENTS:
                self._known[client] = client
        return known

    def find(self, version: bytes | None) -> Client:
        """Return a client that says nothing of itself but ``MCP-Protocol-Version``."""
        client = self._by_version.get(version)
        if client is None:
            text = None if version is None else version.decode("latin-1")[:MAX_TEXT]
            client = self.share(Client(None, text))
            if len(self._by_version) < MAX_CLIENTS and len(version or b"") <= MAX_ID:
                self._by_version[version] = client
        return client
