"""The table of metric families: the product's public interface, every family declared once.

Knows names, types, units, labels, helps and how many series each family can have; does not know
who counts. `docs/metrics.md` is generated from here (`document`). Names, labels and outcomes are
never changed: dashboards, rules and users' own queries are built on them.
"""

from collections.abc import Mapping
from types import MappingProxyType

from mcp_proxy_exporter.observe.catalogue.calls import OPERATIONS, TASKS, TOOL_CALLS
from mcp_proxy_exporter.observe.catalogue.exporter import EXPORTER
from mcp_proxy_exporter.observe.catalogue.peers import HTTP, INVENTORY, SESSIONS
from mcp_proxy_exporter.observe.catalogue.semconv import SEMCONV
from mcp_proxy_exporter.observe.family import Family

__all__ = ["FAMILIES", "SECTIONS"]

SECTIONS: Mapping[str, tuple[Family, ...]] = MappingProxyType(
    {
        "Tool calls": TOOL_CALLS,
        "All operations": OPERATIONS,
        "Tasks": TASKS,
        "Sessions, streams and clients": SESSIONS,
        "Inventory": INVENTORY,
        "HTTP and the upstream": HTTP,
        "OpenTelemetry names": SEMCONV,
        "The exporter itself": EXPORTER,
    }
)

FAMILIES = tuple(family for families in SECTIONS.values() for family in families)
"""All families, in the order of the document and of a scrape."""
