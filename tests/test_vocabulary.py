"""Words that two layers share without importing each other mean the same in both."""

import re
from pathlib import Path

import mcp_proxy_exporter.protocol
from mcp_proxy_exporter.observe import words
from mcp_proxy_exporter.proxy.errors import UpstreamReason


def test_every_reason_of_an_upstream_failure_has_its_series() -> None:
    assert {reason.value for reason in UpstreamReason} == set(words.UPSTREAM_FAILURES)


def test_inspection_stops_only_for_reasons_that_have_a_series() -> None:
    folder = Path(mcp_proxy_exporter.protocol.__file__).parent
    sources = "".join(path.read_text() for path in folder.glob("*.py"))
    used = set(re.findall(r'(?:Malformed|InspectionStopped)\("(\w+)"\)', sources))
    assert used
    assert used <= set(words.UNINSPECTED_REASONS)
