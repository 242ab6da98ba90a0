"""The upper bounds of the histograms, each list with what lies between its ends.

Knows what is slow or large for each thing measured; does not know which family measures it.
"""

# OpenTelemetry's advice for all histograms of MCP (semantic-conventions-genai, docs/gen-ai/mcp.md).
SEMCONV_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
# From a program that lists its roots, over a model that completes a prompt, to a human who fills in
# a form after lunch.
INPUT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
# From a task that need not have been one to a job that runs overnight.
TASK_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10800, 43200, 86400)
# From a client that asks one thing and leaves to an agent that works all day: 1 s to 1 day.
LIFETIME_BUCKETS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400)
# 256 B to 16 MiB, times 4: from a word to more than any model's context.
SIZE_BUCKETS = tuple(256 * 4**step for step in range(9))
# From a loopback connect to a TLS handshake across the world, and the connect timeout.
CONNECT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# 50 us, about one plain call's work, to half a second, which would be a fault of ours.
OVERHEAD_BUCKETS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5),
)
