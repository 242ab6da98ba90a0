"""The trace that a request belongs to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_proxy_exporter.protocol.trace import read_trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-03",
        f"00-{TRACE}-{SPAN}-ff",
        # Higher versions may add fields (W3C Trace Context, section 3.2.4).
        f"01-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-the-future-brings",
        f"cc-{TRACE}-{SPAN}-01-",
    ],
)
def test_a_recorded_trace_has_an_id(traceparent: str) -> None:
    assert read_trace_id(traceparent) == TRACE


@pytest.mark.parametrize("flags", ["00", "02", "fe"])
def test_a_trace_that_nobody_records_has_none(flags: str) -> None:
    assert read_trace_id(f"00-{TRACE}-{SPAN}-{flags}") is None


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        TRACE,
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE}-{SPAN}-011",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}a-{SPAN}-01",
        f"00-{TRACE}-{SPAN}a-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        # Of version 00 all is known (W3C Trace Context, section 3.2.4).
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-what-the-future-brings",
        f"00-{TRACE}-{SPAN}-01-a\nb",
        f"cc-{TRACE}-{SPAN}-01-a\nb",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_no_traceparent_has_none(traceparent: str) -> None:
    assert read_trace_id(traceparent) is None


@given(st.text(max_size=80))
def test_any_text_can_be_read(text: str) -> None:
    assert read_trace_id(text) is None or len(text) >= 55
