"""Every probe of the tables, on the wire: refused before the upstream, or passed to the byte."""

import pytest

from mcp_proxy_exporter.config import TimeoutSettings
from tests.support.probe_compliance import COMPLIANCE, NOT_APPLICABLE
from tests.support.probe_hops import HOPS
from tests.support.probe_malformed import MALFORMED
from tests.support.probe_rows import Row, check
from tests.support.probe_smuggling import SMUGGLING
from tests.support.proxies import ProxyFactory
from tests.support.scripted_upstream import ScriptedUpstream

SOON = TimeoutSettings(client_head=0.3, client_body=0.3, client_idle=0.3)
ROWS: dict[str, Row] = {**SMUGGLING, **COMPLIANCE, **MALFORMED, **HOPS}


@pytest.mark.parametrize("name", ROWS)
async def test_a_probe_is_refused_or_passes_to_the_byte(
    name: str, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    row = ROWS[name]
    running = await proxy(upstream.url, timeouts=SOON if row.waits else None)
    await check(row, running, upstream)


def test_no_probe_is_left_out() -> None:
    # As many as Http11Probe has of each kind.
    assert len(SMUGGLING) == 87
    assert len(COMPLIANCE.keys() | NOT_APPLICABLE.keys()) == 76
    assert COMPLIANCE.keys().isdisjoint(NOT_APPLICABLE)
    assert len(MALFORMED) == 26
    assert len(ROWS) == 87 + len(COMPLIANCE) + 26 + len(HOPS)
