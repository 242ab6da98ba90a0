"""Rules for Prometheus, made of service level objectives: recording rules and burn-rate alerts.

Knows what a good call is and how fast a budget may burn; does not know where objectives are written
(`config`) or who loads the rules. Read `rules` for what is made, `pattern` for how a glob of tool
names becomes a regular expression.
"""

from mcp_proxy_exporter.slo.rules import DEFAULT_SLOS, render_rules

__all__ = ["DEFAULT_SLOS", "render_rules"]
