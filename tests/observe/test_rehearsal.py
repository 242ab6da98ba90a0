"""A recorded call: counted on the way of every call, or refused with a reason."""

import json
from typing import Any

import pytest

from mcp_proxy_exporter.config.custom import CustomMetricSettings, SoftErrorSettings
from mcp_proxy_exporter.observe.rehearsal import WrongRecord, read_record, rehearse
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


def run(recorded: object) -> list[str]:
    """Return the lines that a recorded call leads to, without headers."""
    metrics = make_metrics(custom=(METRIC,), soft_errors=(RULE,))
    call = read_record(json.dumps(recorded).encode())
    text = rehearse(metrics, "cats", call, ("x_total",))
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
