"""The sinks: what becomes of the events that inspection and the data plane report.

Here events turn into metrics and metrics into text. `catalogue` is the table of families and
`switches` the operator's choices about it; `labels` guards what may become a label value and
`guards` tells how full that is; `series` counts; `calls`, `tools`, `tasks`, `inputs`, `sessions`,
`clients`, `messages` and `http` say which event counts where, and `semconv` once more under
OpenTelemetry's names; `metrics` puts them together; `exposition` knows the formats and `scrape`
writes one without stalling the traffic.
Nothing in here knows how traffic is carried or how a message is read.
"""
