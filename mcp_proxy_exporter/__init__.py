"""A transparent sidecar proxy that turns an MCP server's traffic into Prometheus metrics."""

__version__ = "0.1.0"
