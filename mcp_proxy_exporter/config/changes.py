"""What a changed configuration may change in a running process.

Knows which settings are looked at anew for each connection or request, and which made things that
live as long as the process: sockets, series, the memory of the inspection. Does not know how a
change is put into effect.
"""

from collections.abc import Iterator

from mcp_proxy_exporter.config.errors import spell
from mcp_proxy_exporter.config.models import Settings
from mcp_proxy_exporter.config.section import KeyPath, Section
from mcp_proxy_exporter.config.servers import ServerSettings

# What is not named here is fixed: series, and what was seen of traffic, would begin anew with other
# tables, and a setting that is new may be read once only.
_CHANGEABLE_TABLES = frozenset({"timeouts", "limits", "slo", "log"})
_CHANGEABLE_OF_ADMIN = frozenset({"bearer_token", "basic_auth", "tls"})
_CHANGEABLE_OF_SERVERS = frozenset(
    {
        "allowed_hosts", "allowed_origins", "forwarded", "headers", "host_header", "listen_tls",
        "tls", "trusted_proxies", "via",
    }
)  # fmt: skip


def find_fixed(old: Settings, new: Settings) -> list[str]:
    """Name the settings that differ and need another process, as an operator spells them."""
    return [spell(path) for path in _find(old, new)]


def _find(old: Settings, new: Settings) -> Iterator[KeyPath]:
    if [server.name for server in old.servers] != [server.name for server in new.servers]:
        # Added, removed or in another order: which of the rest differ says nothing then.
        yield ("servers",)
    else:
        for index, pair in enumerate(zip(old.servers, new.servers, strict=True)):
            yield from _find_in_server(("servers", index), *pair)
    yield from _find_in_table(("admin",), old.admin, new.admin, _CHANGEABLE_OF_ADMIN)
    if bool(old.admin.tls.cert_file) != bool(new.admin.tls.cert_file):
        yield ("admin", "tls", "cert_file")
    for table in type(old).model_fields:
        if table not in _CHANGEABLE_TABLES | {"servers", "admin"}:
            yield from _find_in_table((table,), getattr(old, table), getattr(new, table))


def _find_in_server(path: KeyPath, old: ServerSettings, new: ServerSettings) -> Iterator[KeyPath]:
    yield from _find_in_table(path, old, new, _CHANGEABLE_OF_SERVERS)
    if bool(old.listen_tls.cert_file) != bool(new.listen_tls.cert_file):
        # Whether bytes are TLS is decided where the listener is opened.
        yield (*path, "listen_tls", "cert_file")


def _find_in_table(
    path: KeyPath, old: Section, new: Section, changeable: frozenset[str] = frozenset()
) -> Iterator[KeyPath]:
    for name in type(old).model_fields:
        if name not in changeable and getattr(old, name) != getattr(new, name):
            yield (*path, name)
