"""The settings, strict: TOML file, environment and command line, in rising priority.

Knows every setting, its default, its limits and the reason of both; does not know what is done
with them. `load` reads them; the models are frozen, can be built directly, and hold addresses
parsed. Read `models` for what can be set, `layers` for where it comes from.
"""

from mcp_proxy_exporter.config.address import Address, TcpAddress, UnixAddress, Upstream
from mcp_proxy_exporter.config.changes import find_fixed
from mcp_proxy_exporter.config.custom import (
    CustomMetricSettings,
    OutcomesSettings,
    SoftErrorSettings,
)
from mcp_proxy_exporter.config.errors import ConfigError, Problem
from mcp_proxy_exporter.config.load import load
from mcp_proxy_exporter.config.models import (
    AdminSettings,
    BasicAuthSettings,
    InspectionSettings,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    Settings,
    TimeoutSettings,
)
from mcp_proxy_exporter.config.secret import SecretSettings
from mcp_proxy_exporter.config.servers import HeaderSettings, ServerSettings
from mcp_proxy_exporter.config.slo import SloSettings
from mcp_proxy_exporter.config.tls import ListenTlsSettings, TlsSettings, WrongFile

__all__ = [
    "Address",
    "AdminSettings",
    "BasicAuthSettings",
    "ConfigError",
    "CustomMetricSettings",
    "HeaderSettings",
    "InspectionSettings",
    "LimitSettings",
    "ListenTlsSettings",
    "LogSettings",
    "MetricsSettings",
    "OutcomesSettings",
    "Problem",
    "SecretSettings",
    "ServerSettings",
    "Settings",
    "SloSettings",
    "SoftErrorSettings",
    "TcpAddress",
    "TimeoutSettings",
    "TlsSettings",
    "UnixAddress",
    "Upstream",
    "WrongFile",
    "find_fixed",
    "load",
]
