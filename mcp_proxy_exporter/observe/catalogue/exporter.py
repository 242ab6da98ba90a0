"""The families of the exporter itself.

Knows the rows about this process; does not know those about the traffic (`calls`, `peers`).
"""

from mcp_proxy_exporter.observe.catalogue.buckets import OVERHEAD_BUCKETS
from mcp_proxy_exporter.observe.family import Family, Kind

EXPORTER = (
    Family(
        name="mcp_proxy_overhead_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        labels=("server", "phase"),
        bound="S*2",
        buckets=OVERHEAD_BUCKETS,
        help="Time that the proxy held one exchange's request and response bytes, measured "
        "directly; inspection comes after they have passed on.",
    ),
    Family(
        name="mcp_proxy_uninspected_messages_total",
        kind=Kind.COUNTER,
        labels=("server", "reason"),
        bound="S*R",
        help="Messages or bodies that were forwarded but could not be judged.",
    ),
    Family(
        name="mcp_proxy_limit_hits_total",
        kind=Kind.COUNTER,
        labels=("server", "limit"),
        bound="S*LT",
        help="Connections and exchanges that were refused or ended by a limit of the "
        "configuration, by the setting's name.",
    ),
    Family(
        name="mcp_proxy_inspection_errors_total",
        kind=Kind.COUNTER,
        labels=("stage",),
        bound="E",
        help="Faults of the inspection itself. The bytes were forwarded all the same.",
    ),
    Family(
        name="mcp_proxy_label_overflow_total",
        kind=Kind.COUNTER,
        labels=("server", "label"),
        bound="S*V",
        help="Values that were not admitted as label values and counted as _other.",
    ),
    Family(
        name="mcp_proxy_label_values",
        kind=Kind.GAUGE,
        labels=("server", "label"),
        bound="S*V",
        polled=True,
        help="Values admitted as label values.",
    ),
    Family(
        name="mcp_proxy_label_values_limit",
        kind=Kind.GAUGE,
        labels=("server", "label"),
        bound="S*V",
        polled=True,
        help="Values that can be admitted as label values.",
    ),
    Family(
        name="mcp_proxy_custom_metric_skips_total",
        kind=Kind.COUNTER,
        labels=("metric", "reason"),
        bound="U*W",
        help="Calls that a custom metric or a rule of soft errors concerns and could not count.",
    ),
    Family(
        name="mcp_proxy_config_last_reload_successful",
        kind=Kind.GAUGE,
        bound="1",
        help="1 if the configuration that was last read is in effect, 0 if an earlier one is.",
    ),
    Family(
        name="mcp_proxy_config_last_reload_success_timestamp_seconds",
        kind=Kind.GAUGE,
        unit="seconds",
        bound="1",
        help="When the configuration that is in effect was read, as Unix time.",
    ),
    Family(
        name="mcp_proxy_insecure_upstream",
        kind=Kind.GAUGE,
        labels=("server",),
        bound="S",
        help="1 if any certificate of the upstream is believed (insecure_skip_verify), else 0.",
    ),
    Family(
        name="mcp_proxy_build_info",
        kind=Kind.GAUGE,
        labels=("version", "revision", "python"),
        bound="1",
        help="1, with the exporter's version, source revision and Python version.",
    ),
)
