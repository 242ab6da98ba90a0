"""Open files: what the system grants is shared, and enough for all that is let in."""

import logging
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_proxy_exporter.config import LimitSettings, ServerSettings, TimeoutSettings
from mcp_proxy_exporter.proxy import descriptors
from mcp_proxy_exporter.proxy.context import MAX_REFUSED
from mcp_proxy_exporter.proxy.descriptors import fit, share_descriptors
from mcp_proxy_exporter.proxy.server import ProxyServer
from tests.support.proxies import RunningProxy


def need(limits: LimitSettings) -> int:
    """Count the most descriptors that one listener takes."""
    upstream = min(limits.requests, limits.connections) if limits.requests else limits.connections
    return limits.connections + MAX_REFUSED + upstream


@given(
    connections=st.integers(0, 10_000),
    requests=st.integers(0, 10_000),
    share=st.integers(MAX_REFUSED + 2, 30_000),
)
def test_share_is_enough_for_the_clients_and_their_exchanges(
    connections: int, requests: int, share: int
) -> None:
    wanted = LimitSettings(connections=connections, requests=requests)
    given = fit(wanted, share)
    assert need(given) <= share
    assert given.connections >= 1
    assert given.requests == requests
    if connections and need(wanted) <= share:
        assert given == wanted
    else:
        # Nor is it lowered more than needed.
        assert need(given.model_copy(update={"connections": given.connections + 1})) > share


def test_somebody_is_served_even_where_nothing_is_granted() -> None:
    assert fit(LimitSettings(), 0).connections == 1


def test_no_limit_of_the_system_leaves_the_settings_alone() -> None:
    assert fit(LimitSettings(connections=0), None).connections == 0


@pytest.mark.parametrize(
    ("granted", "share"), [(1088, 500), (30, 0), (resource.RLIM_INFINITY, None)]
)
def test_servers_share_what_is_granted(
    monkeypatch: pytest.MonkeyPatch, granted: int, share: int | None
) -> None:
    raised: list[int] = []
    monkeypatch.setattr(descriptors, "allow_descriptors", lambda: raised.append(1))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (granted, granted))
    assert share_descriptors(2, 24) == share
    assert raised == [1]


def test_lowered_limit_is_told_and_a_reload_is_judged_like_the_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    running = RunningProxy(
        ServerSettings(upstream="http://127.0.0.1:1"),
        LimitSettings(),
        TimeoutSettings(),
        lambda: 0.0,
    )
    old = running.server
    server = ProxyServer(
        old._settings,
        limits=LimitSettings(connections=100, requests=50),
        timeouts=TimeoutSettings(),
        taps=old._context.taps,
        descriptors=300,
    )
    assert caplog.messages == []
    for limits, effective, told in (
        (LimitSettings(connections=200, requests=50), 186, ["186", "200", "50", "300"]),
        (LimitSettings(connections=0, requests=50), 186, []),
        (LimitSettings(connections=100, requests=50), 100, []),
    ):
        server.change(server._settings, limits=limits, timeouts=TimeoutSettings())
        assert server._context.limits.connections == effective
        said = " ".join(caplog.messages)
        assert all(figure in said for figure in told)
        assert bool(said) is bool(told)
        caplog.clear()
