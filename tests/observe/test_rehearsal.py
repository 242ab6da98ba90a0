"""A recorded call: counted on the way of every call, or refused with a reason."""

import json
from typing import Any

import pytest

from mcp_proxy_exporter.config.custom import CustomMetricSettings, SoftErrorSettings
from mcp_proxy_exporter.observe.rehearsal import WrongRecord, read_record, rehearse
from mcp_proxy_exporter.protocol.limits import Limits
from tests.observe.figures import make_metrics

METRIC = CustomMetricSettings(
    name="x_total",
    type="counter",
    tools=("nap",),
    value="arguments.n",
    labels={"o": "outcome", "c": "client.name", "d": "duration_seconds"},
)
RULE = SoftErrorSettings(when="result.bad", reason="result.bad")


def record(response: object = None, **more: Any) -> dict[str, Any]:
    """Return a recorded call of a tool."""
    params = {"name": "nap", "arguments": {"n": 3}}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return {"request": request, "response": response, **more}


def answer(**result: Any) -> dict[str, Any]:
    """Return a response with this result."""
    return {"jsonrpc": "2.0", "id": 1, "result": result}


def run(recorded: object, disable: tuple[str, ...] = ()) -> list[str]:
    """Return the lines that a recorded call leads to, without headers."""
    metrics = make_metrics(custom=(METRIC,), soft_errors=(RULE,), disable=disable)
    written = recorded if isinstance(recorded, bytes) else json.dumps(recorded).encode()
    call = read_record(written)
    text = rehearse(metrics, "cats", call, ("x_total",), Limits())
    lines = text.splitlines()
    # Every family has its header once, before its samples.
    names = {line.partition("{")[0] for line in lines if not line.startswith("#")}
    assert [line.split()[2] for line in lines if line.startswith("# TYPE")] == sorted(
        names, key=lambda name: text.index(f"# TYPE {name}")
    )
    return [line for line in lines if not line.startswith(("# HELP", "# TYPE"))]


def test_a_call_is_shown_as_a_scrape_shows_it() -> None:
    recorded = record(answer(content=[]), duration_seconds=0.5, client={"name": "desk"})
    assert run(recorded) == [
        "# cats: nap: success",
        'x_total{server="cats",tool="nap",o="success",c="desk",d="0.5"} 3',
    ]


def test_a_soft_error_is_shown() -> None:
    assert run(record(answer(bad="E7"))) == [
        "# cats: nap: success, by a rule a soft error: tool_error",
        'mcp_tool_soft_errors_total{server="cats",tool="nap",reason="E7"} 1',
        'x_total{server="cats",tool="nap",o="tool_error",c="_unknown",d="0"} 3',
    ]


def test_skips_are_shown() -> None:
    recorded = record(answer())
    recorded["request"]["params"]["arguments"]["n"] = "three"
    assert run(recorded) == [
        "# cats: nap: success",
        ('mcp_proxy_custom_metric_skips_total{metric="x_total",reason="not_a_number"} 1'),
    ]


def test_a_call_without_an_answer_has_run_out_of_time() -> None:
    assert run(record(duration_seconds=30)) == [
        "# cats: nap: upstream_timeout",
        'x_total{server="cats",tool="nap",o="upstream_timeout",c="_unknown",d="30"} 3',
    ]


def test_a_call_that_no_rule_concerns_says_so() -> None:
    recorded = record(answer())
    recorded["request"]["params"]["name"] = "hunt"
    assert run(recorded) == ["# cats: hunt: success", "# no rule counts this call"]


def test_what_is_disabled_says_so_and_is_judged_all_the_same() -> None:
    hidden = ("mcp_tool_soft_errors_total", "x_total", "mcp_requests_total")
    assert run(record(answer(bad="E7")), disable=hidden) == [
        "# cats: nap: success, by a rule a soft error: tool_error",
        "# x_total: disabled by metrics.disable",
        "# mcp_tool_soft_errors_total: disabled by metrics.disable",
    ]
    assert run(record(answer()), disable=hidden) == [
        "# cats: nap: success",
        "# x_total: disabled by metrics.disable",
    ]
    recorded = record(answer())
    recorded["request"]["params"]["name"] = "hunt"
    assert run(recorded, disable=("x_*",)) == [
        "# cats: hunt: success",
        "# no rule counts this call",
    ]


def test_skips_that_are_disabled_say_so() -> None:
    recorded = record(answer())
    assert run(recorded, disable=("mcp_proxy_custom_*",)) == [
        "# cats: nap: success",
        'x_total{server="cats",tool="nap",o="success",c="_unknown",d="0"} 3',
    ]
    recorded["request"]["params"]["arguments"]["n"] = "three"
    assert run(recorded, disable=("mcp_proxy_custom_*",)) == [
        "# cats: nap: success",
        "# mcp_proxy_custom_metric_skips_total: disabled by metrics.disable",
    ]


def test_a_label_that_looks_like_a_soft_error_is_none() -> None:
    recorded = record(answer())
    recorded["client"] = {"name": "mcp_tool_soft_errors_total"}
    assert run(recorded)[0] == "# cats: nap: success"


def test_what_a_scrape_would_count_is_read_here_too() -> None:
    text = (
        b'\xef\xbb\xbf{"request": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": '
        b'{"name": "nap", "arguments": {"n": 3, "odd": 1e999, "big": %s}}},'
        b'"response": {"jsonrpc": "2.0", "id": 1, "result": {"bad": "\\ud800"}}}' % (b"9" * 4000)
    )
    assert run(text) == [
        "# cats: nap: success, by a rule a soft error: tool_error",
        'mcp_tool_soft_errors_total{server="cats",tool="nap",reason="\ufffd"} 1',
        'x_total{server="cats",tool="nap",o="tool_error",c="_unknown",d="0"} 3',
    ]


def test_texts_that_are_too_large_are_skipped_here_too() -> None:
    metrics = make_metrics(custom=(METRIC,), soft_errors=(RULE,))
    call = read_record(json.dumps(record(answer(bad="x" * 200))).encode())
    text = rehearse(metrics, "cats", call, ("x_total",), Limits(max_rule_bytes=200))
    lines = [line for line in text.splitlines() if not line.startswith(("# HELP", "# TYPE"))]
    skips = "mcp_proxy_custom_metric_skips_total"
    assert lines == [
        "# cats: nap: success",
        f'{skips}{{metric="mcp_tool_soft_errors_total",reason="too_large"}} 1',
        'x_total{server="cats",tool="nap",o="success",c="_unknown",d="0"} 3',
    ]


def test_a_message_alone_is_told_how_to_be_wrapped() -> None:
    with pytest.raises(WrongRecord) as caught:
        read_record(json.dumps(record()["request"]).encode())
    assert str(caught.value) == (
        "is no recorded call: object contains unknown field `jsonrpc`; is it the JSON-RPC message "
        'alone? write {"request": ..., "response": ...}'
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"request": {}}, "request: is no JSON-RPC 2.0 message"),
        (
            {"request": {"jsonrpc": "2.0", "id": 1, "method": "ping"}},
            "request: is no tools/call with an id and a name",
        ),
        (
            {"request": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}},
            "request: is no tools/call with an id and a name",
        ),
        (
            {"request": {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "nap"}}},
            "request: is no tools/call with an id and a name",
        ),
        (
            {"response": {"jsonrpc": "2.0", "id": 2, "result": {}}},
            "response: does not answer the request: ids differ, or it is none",
        ),
        (
            {"response": {"jsonrpc": "2.0", "id": 1, "method": "ping"}},
            "response: does not answer the request: ids differ, or it is none",
        ),
        (
            {"answer": {}},
            "is no recorded call: object contains unknown field `answer`",
        ),
        (
            {"duration_seconds": -1},
            "is no recorded call: expected `float` >= 0.0 - at `$.duration_seconds`",
        ),
    ],
)
def test_what_is_no_recorded_call_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongRecord) as caught:
        run(record(answer()) | changed)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(WrongRecord, match="is no recorded call: "):
        read_record(text)
