"""The settings, strict: TOML file, environment and command line, in rising priority.

Knows every setting, its default, its limits and the reason of both; does not know what is done
with them. `load` reads them; the models are frozen, can be built directly, and hold addresses
parsed. Read `models` for what can be set, `layers` for where it comes from.
"""

from mcp_proxy_exporter.config.address import Address, TcpAddress, UnixAddress, Upstream
from mcp_proxy_exporter.config.custom import (
    CustomMetricSettings,
    OutcomesSettings,
    SoftErrorSettings,
)
from mcp_proxy_exporter.config.errors import ConfigError, Problem
from mcp_proxy_exporter.config.load import load
from mcp_proxy_exporter.config.models import (
    AdminSettings,
    InspectionSettings,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    Settings,
    TimeoutSettings,
)
from mcp_proxy_exporter.config.servers import HeaderSettings, ServerSettings, TlsSettings
from mcp_proxy_exporter.config.slo import SloSettings

__all__ = [
    "Address",
    "AdminSettings",
    "ConfigError",
    "CustomMetricSettings",
    "HeaderSettings",
    "InspectionSettings",
    "LimitSettings",
    "LogSettings",
    "MetricsSettings",
    "OutcomesSettings",
    "Problem",
    "ServerSettings",
    "Settings",
    "SloSettings",
    "SoftErrorSettings",
    "TcpAddress",
    "TimeoutSettings",
    "TlsSettings",
    "UnixAddress",
    "Upstream",
    "load",
]
