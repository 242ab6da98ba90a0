"""All settings, with their defaults, limits and reasons.

Knows what each setting means and which go together; does not know files, variables or flags
(`layers`), where a value was written or how a message is shown (`errors`).
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mcp_proxy_exporter.config.address import Address, TcpAddress, parse_listen, parse_tcp
from mcp_proxy_exporter.config.custom import (
    CustomMetricSettings,
    LabelName,
    OutcomesSettings,
    find_conflicts,
    find_idle_patterns,
)
from mcp_proxy_exporter.config.secret import SecretSettings
from mcp_proxy_exporter.config.section import (
    Bounds,
    Flag,
    Integer,
    KeyPath,
    Number,
    Section,
    faults,
)
from mcp_proxy_exporter.config.servers import HostName, ServerSettings
from mcp_proxy_exporter.config.slo import SloSettings, find_slo_faults
from mcp_proxy_exporter.config.tls import ListenTlsSettings

KIB = 1024
MIB = 1024 * KIB

MAX_LISTED_TOOLS = 2000
"""What is read of one ``tools/list``: the inspection remembers no more tools of a server."""

NO_SERVER = (
    "no server is configured: give --upstream URL, MCP_PROXY_EXPORTER__UPSTREAM, "
    "or a file with [[servers]]"
)


def _check_label_value(value: str) -> str:
    # To Prometheus an empty label is none.
    if not value or not value.isprintable():
        raise ValueError("must be one line of text, and not empty")
    return value


def _check_listed(value: int) -> int:
    if value > MAX_LISTED_TOOLS:
        raise ValueError(f"can be {MAX_LISTED_TOOLS}: no more tools of a list are read")
    return value


LabelValue = Annotated[str, AfterValidator(_check_label_value)]
PositiveSeconds = Annotated[Number, Field(gt=0)]
"""Seconds, without a way to switch the limit off."""
Seconds = Annotated[Number, Field(ge=0)]
"""Seconds; 0 = no limit, or for idle connections and drain: no time at all."""


DURATION_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
"""From a cache's answer to the patience of the longest agents, in seconds."""


class BasicAuthSettings(Section):
    """A user of the admin listener (RFC 7617)."""

    username: str
    password: SecretSettings

    @field_validator("username")
    @classmethod
    def _check_username(cls, value: str) -> str:
        if not value.isprintable() or ":" in value:
            raise ValueError("must be one line of text without a colon (RFC 7617 section 2)")
        return value


class AdminSettings(Section):
    """The listener for the operator: metrics, health, an index page."""

    # Not 9464: that is what OpenTelemetry's Prometheus exporters listen on by default, and an
    # instrumented MCP server may share this network namespace. 10464 is close enough to remember,
    # IANA lists 10444-10499 as unassigned, and exporters' usual range ends at 9999.
    listen: str = "127.0.0.1:10464"
    tls: ListenTlsSettings = ListenTlsSettings()
    bearer_token: SecretSettings | None = None
    """Who asks for metrics or the index must know it, or be `basic_auth`; None: need not."""
    basic_auth: BasicAuthSettings | None = None
    allowed_hosts: tuple[HostName, ...] = ()
    """Further Host values, ``host`` (any port) or ``host:port``, in lower case. On a loopback
    address all others are refused, which no web page's rebound name passes (DNS rebinding)."""

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        if value.startswith("unix:"):
            raise ValueError("must be host:port: Prometheus cannot scrape a unix socket")
        parse_tcp(value)
        return value

    @cached_property
    def listen_address(self) -> TcpAddress:
        """``listen``, parsed."""
        return parse_tcp(self.listen)


class TimeoutSettings(Section):
    """How long to wait, in seconds."""

    connect: PositiveSeconds = 5.0
    """TCP and TLS to the upstream: a sidecar's upstream is near; a lost SYN is sent again at 1
    and 3 s."""
    response_head: Seconds = 0.0
    """Request sent to response head. Off: a tool may think for minutes before it answers."""
    total: Seconds = 0.0
    """One whole exchange, event streams that answer a GET excepted. Off: tools may take long."""
    client_head: PositiveSeconds = 10.0
    """First byte to end of a request's head: slower than any real client, and what ends a
    slowloris."""
    client_body: PositiveSeconds = 30.0
    """Between two reads of a request's body."""
    client_write: PositiveSeconds = 60.0
    """How long a client may take nothing of an answer that waits for it; nginx's default for the
    same. A slow one that takes anything at all is never cut."""
    client_idle: Seconds = 75.0
    """A client's idle connection; nginx's default for the same."""
    upstream_idle: Seconds = 4.0
    """An idle connection to the upstream. Below the 5 s of uvicorn and Node, so that it is closed
    by us and never by them under a request that is on its way."""
    shutdown_delay: Seconds = 0.0
    """Shutdown: how long the listeners stay open once `/readyz` says no. Off: only where something
    has to notice first, as a load balancer or the nodes of a Kubernetes cluster."""
    drain: Seconds = 10.0
    """Shutdown: what exchanges in flight get. Kubernetes kills 30 s after SIGTERM."""


class LimitSettings(Section):
    """How large a head may be, either way, and how much may happen at once on one listener."""

    head_bytes: Annotated[Integer, Field(ge=1024)] = 65536
    """Start line and header fields together; servers allow 8 to 64 KiB."""
    head_fields: Annotated[Integer, Field(ge=16)] = 256
    """Number of header fields; 100 to 128 is what servers allow."""
    connections: Annotated[Integer, Field(ge=0)] = 4096
    """Clients' connections at once; 0 = no limit. A client holds one to three, each takes 10 KiB;
    with as many to the upstream that is what most systems let a process open."""
    requests: Annotated[Integer, Field(ge=0)] = 2048
    """Exchanges that use the upstream at once, event streams included; 0 = no limit. Half of
    `connections`: the others can still be told 503, and be counted by their tool."""


class InspectionSettings(Section):
    """How much of the traffic is read for the metrics. What is not read passes all the same."""

    enabled: Flag = True
    """Off: HTTP metrics only, and no message is looked at."""
    max_message_bytes: Annotated[Integer, Field(gt=0)] = 4 * MIB
    """One JSON body or one event of a stream, after decoding; the Python SDK refuses larger
    requests itself."""
    max_buffered_bytes: Annotated[Integer, Field(gt=0)] = 32 * MIB
    """All messages of one server that are being read, together."""
    max_rule_bytes: Annotated[Integer, Field(gt=0)] = 256 * KIB
    """A request or an answer of a tool call that an expression asks about: to decode this much JSON
    and to evaluate expressions on it takes up to 30 ms, in which nothing else is served. Larger
    ones skip the metric."""
    max_kept_bytes: Annotated[Integer, Field(gt=0)] = 8 * MIB
    """All requests of one server that are kept for such expressions until their answers come."""
    max_open_calls: Annotated[Integer, Field(gt=0)] = 10_000
    """Calls in flight that are followed, per server."""
    max_sessions: Annotated[Integer, Field(gt=0)] = 10_000
    """Sessions that are remembered, per server; beyond, the longest idle ones are forgotten."""
    max_tasks: Annotated[Integer, Field(gt=0)] = 10_000
    """Tasks whose end is awaited, per server; beyond, the oldest count as unobserved."""
    suspended_seconds: PositiveSeconds = 60.0
    """How long a call whose event stream ended waits for its client to resume it, besides what the
    server asked the client to wait. SDKs come back after 1 to 30 s."""
    session_idle_seconds: PositiveSeconds = 3600.0
    """Silence after which a session is taken for gone: most clients never end theirs."""
    repeat_seconds: PositiveSeconds = 300.0
    """How long ago a tool call may be to count as repeated by one that is just like it. Agents that
    run in a circle do so within minutes."""
    task_seconds: PositiveSeconds = 3600.0
    """How long a task is awaited whose server names no time to live."""

    @model_validator(mode="after")
    def _check_room(self) -> Self:
        if self.max_buffered_bytes < self.max_message_bytes:
            raise faults([(("max_buffered_bytes",), "is less than max_message_bytes")])
        if self.max_kept_bytes < self.max_rule_bytes:
            raise faults([(("max_kept_bytes",), "is less than max_rule_bytes")])
        return self


class MetricsSettings(Section):
    """What the metrics look like."""

    max_tools: Annotated[Integer, Field(gt=0)] = 200
    """Tool names per server that become labels because a call succeeded before any ``tools/list``
    was seen; further ones are ``_other``. Listed tools do not count."""
    max_listed_tools: Annotated[Integer, Field(gt=0), AfterValidator(_check_listed)] = 1000
    """Tool names per server that become labels because ``tools/list`` showed them, in all the time
    of the process. Generous, because these are real; a hostile server would list without end."""
    max_clients: Annotated[Integer, Field(gt=0)] = 50
    """Client names per server that become labels: the first ones; further ones are ``_other``.
    Clients are programs, of which few are about, and nobody vouches for a name."""
    max_prompts: Annotated[Integer, Field(gt=0)] = 50
    """Prompt names per server that become labels, with `semconv`: those of the first requests that
    succeed. People choose prompts from a menu, which is short."""
    bytes_per_token: Annotated[Number, Field(gt=0)] = 4.0
    """How many bytes of a tool's definition are taken for one token of a model's context. English
    text and JSON have 3 to 5 in the tokenizers of today's models."""
    disable: tuple[str, ...] = ()
    """Globs of metric families that are neither counted nor shown."""
    enable: tuple[str, ...] = ()
    """Globs of metric families that are, whatever `disable` says."""
    semconv: Flag = False
    """Show the durations of operations under OpenTelemetry's names, too. Off: they say again what
    other families say."""
    labels: Mapping[LabelName, LabelValue] = Field(default_factory=dict)
    """Labels of every series, for scrapers that cannot be told to add them."""
    duration_buckets: Bounds = DURATION_BUCKETS
    """Upper bounds, in seconds, of the histograms of durations; ``+Inf`` is added."""
    buckets: Mapping[str, Bounds] = Field(default_factory=dict)
    """Upper bounds of single histograms, in their own unit, by the name of the family."""
    custom: tuple[CustomMetricSettings, ...] = ()
    """Metrics made of what calls say."""

    @model_validator(mode="after")
    def _check_custom(self) -> Self:
        found = find_conflicts(self.custom, self.labels)
        if found:
            raise faults(found)
        return self


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class LogSettings(Section):
    """What is said on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"


class Settings(BaseSettings):
    """All settings of one process. Frozen; nothing is read from anywhere but the arguments.

    `mcp_proxy_exporter.config.load` reads file, environment and command line.
    """

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, env_nested_delimiter="__"
    )

    servers: tuple[ServerSettings, ...]
    admin: AdminSettings = AdminSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    limits: LimitSettings = LimitSettings()
    inspection: InspectionSettings = InspectionSettings()
    metrics: MetricsSettings = MetricsSettings()
    outcomes: OutcomesSettings = OutcomesSettings()
    slo: tuple[SloSettings, ...] = ()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the arguments only: `layers` reads the rest, and remembers where it found it."""
        return (init_settings,)

    @field_validator("servers")
    @classmethod
    def _check_servers(cls, value: tuple[ServerSettings, ...]) -> tuple[ServerSettings, ...]:
        # Not by a minimal length: pydantic would count the valid ones.
        if not value:
            raise ValueError(NO_SERVER)
        return value

    @model_validator(mode="after")
    def _check_conflicts(self) -> Self:
        found = conflicts(
            [(server.name, server.listen) for server in self.servers], self.admin.listen
        )
        names = [server.name for server in self.servers]
        for table, rules in (
            (("metrics", "custom"), self.metrics.custom),
            (("outcomes", "soft_errors"), self.outcomes.soft_errors),
        ):
            found += [((*table, *at), text) for at, text in find_idle_patterns(rules, names)]
            if rules and not self.inspection.enabled:
                found.append((table, "has no use: inspection.enabled is false"))
        found += [
            (("slo", *at), text) for at, text in find_slo_faults(self.slo, names, self.metrics)
        ]
        if found:
            raise faults(found)
        return self


def conflicts(servers: list[tuple[str, str]], admin: str) -> list[tuple[KeyPath, str]]:
    """Find what two listeners want at once: (name, listen) of each server, and the admin's listen.

    Texts that do not parse are passed over: they are reported where they stand.
    """
    found: list[tuple[KeyPath, str]] = []
    names: dict[str, int] = {}
    listeners: list[tuple[str, Address]] = []
    for index, (name, listen) in enumerate(servers):
        first = names.setdefault(name, index)
        if first != index:
            found.append((("servers", index, "name"), f"is the name of servers[{first}] as well"))
        found += _taken(("servers", index, "listen"), f"servers[{index}]", listen, listeners)
    found += _taken(("admin", "listen"), "admin", admin, listeners)
    return found


def _taken(
    path: KeyPath, owner: str, listen: str, listeners: list[tuple[str, Address]]
) -> list[tuple[KeyPath, str]]:
    try:
        address = parse_listen(listen)
    except ValueError:
        return []
    other = next((name for name, taken in listeners if taken.overlaps(address)), None)
    listeners.append((owner, address))
    return [(path, f"is where {other} listens already")] if other else []
