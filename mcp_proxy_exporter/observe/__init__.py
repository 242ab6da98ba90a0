"""The sinks: what becomes of the events that inspection and the data plane report.

Here events turn into metrics and metrics into text. `catalogue` is the table of families, `labels`
guards what may become a label value, `series` counts, `calls`, `tools`, `tasks`, `inputs`,
`sessions`, `clients`, `messages` and `http` say which event counts where, `metrics` puts them
together, `exposition` writes them for a scrape.
Nothing in here knows how traffic is carried or how a message is read.
"""
