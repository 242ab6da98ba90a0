"""The operator's listener: metrics, health, an index page. Reads, never changes anything.

Read `server` for what is answered, `visitors` for how many may ask and for how long, `pages` for
what scrapers share.
"""

from mcp_proxy_exporter.admin.pages import Page
from mcp_proxy_exporter.admin.server import EVERYBODY, Access, AdminServer, Line, write_index
from mcp_proxy_exporter.admin.visitors import MAX_VISITORS

__all__ = [
    "EVERYBODY",
    "MAX_VISITORS",
    "Access",
    "AdminServer",
    "Line",
    "Page",
    "write_index",
]
