"""Which calls the operator's rules look at, and that no other call is read."""

import json
from typing import Any

import pytest

from mcp_proxy_exporter.config.custom import CustomMetricSettings, SoftErrorSettings
from mcp_proxy_exporter.config.interpreter import MAX_WORK
from mcp_proxy_exporter.observe import rules as module
from mcp_proxy_exporter.observe.facts import UNREADABLE, Needs, Reading, read_call
from mcp_proxy_exporter.observe.metrics import ServerMetrics
from mcp_proxy_exporter.protocol.events import Call, CallClosed, CallOpened, Client, Transcript
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import make_metrics, scrape
from tests.observe.told import call, skipped

REQUEST = b'{"params":{"arguments":{"a":"x"}}}'
RESPONSE = b'{"result":{"b":"y"}}'
DEEP = b'{"params":{"arguments":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"


def make_server(name: str = "cats", **options: Any) -> ServerMetrics:
    """Return the figures of a server with rules."""
    return make_metrics(**options).server(name)


def counter(**settings: Any) -> CustomMetricSettings:
    """Return the settings of a counter."""
    return CustomMetricSettings(**{"name": "x_total", "type": "counter", **settings})


def test_without_rules_no_text_is_wanted() -> None:
    assert make_server().wants is None
    assert make_server(custom=(counter(servers=("dogs",)),)).wants is None
    assert make_server("dogs", custom=(counter(servers=("d*",)),)).wants is not None


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"value": "arguments.n"}, True),
        ({"value": "result.n"}, True),
        ({"when": "error"}, True),
        ({"labels": {"a": "meta.b"}}, True),
        ({"labels": {"a": "client.name"}, "value": "duration_seconds", "when": "outcome"}, False),
        ({}, False),
    ],
)
def test_texts_are_wanted_where_an_expression_asks_for_them(
    settings: dict[str, Any], *, wanted: bool
) -> None:
    wants = make_server(custom=(counter(**settings),)).wants
    assert wants is not None
    assert wants("nap") is wanted


def test_texts_are_wanted_of_the_tools_that_a_rule_concerns() -> None:
    wants = make_server(
        custom=(counter(value="arguments.n", tools=("search_*", "nap")),),
        soft_errors=(SoftErrorSettings(when="result.bad", tools=("hunt",)),),
    ).wants
    assert wants is not None
    assert [name for name in ("nap", "hunt", "search_x", "Nap", "purr") if wants(name)] == [
        *("nap", "hunt", "search_x")
    ]
    assert not wants(None)


def test_names_are_remembered_within_bounds() -> None:
    server = make_server(custom=(counter(value="arguments.n", tools=("nap",)),))
    assert server.wants is not None
    for number in range(module._REMEMBERED_NAMES + 10):
        assert not server.wants(f"invented-{number}")
    find = server.wants.__self__._find  # type: ignore[attr-defined]  # of the bound method
    assert find.cache_info().currsize == module._REMEMBERED_NAMES


def test_what_no_rule_concerns_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(module, "read_call", refuse)
    metrics = make_metrics(custom=(counter(value="arguments.n", tools=("nap",)),))
    server = metrics.server("cats")
    for begun in (
        Call("tools/call", "hunt", 1.0),
        Call("tools/call", None, 1.0),
        Call("prompts/get", "nap", 1.0),
        Call("tools/list", None, 1.0),
    ):
        server.handle(CallOpened(begun))
        server.handle(CallClosed(begun, Outcome.SUCCESS, 2.0))
    assert scrape(metrics).total("mcp_requests_total", outcome="success") == 4
    opened, closed = call()
    server.handle(opened)
    with pytest.raises(AssertionError, match="read"):
        server.handle(closed)


@pytest.mark.parametrize(
    ("texts", "skips"),
    [
        (Transcript(REQUEST, RESPONSE), {}),
        (Transcript(b"", RESPONSE, "no_room"), {"asks": "no_room", "both": "no_room"}),
        (
            Transcript(REQUEST, b"", None, "too_large"),
            {"answers": "too_large", "both": "too_large"},
        ),
        (
            Transcript(b"", b"", "too_large", "uninspected"),
            {"asks": "too_large", "answers": "uninspected", "both": "too_large"},
        ),
        (Transcript(REQUEST, DEEP), {"answers": "unreadable", "both": "unreadable"}),
        (Transcript(DEEP, RESPONSE), {"asks": "unreadable", "both": "unreadable"}),
        (None, {"asks": "uninspected", "answers": "uninspected", "both": "uninspected"}),
    ],
)
def test_what_needs_a_text_that_is_lost_is_skipped_and_nothing_else(
    texts: Transcript | None, skips: dict[str, str]
) -> None:
    names = {
        "asks": {"a": "arguments.a || 'none'"},
        "answers": {"b": "result.b || 'none'"},
        "both": {"a": "arguments.a", "b": "error"},
        "neither": {"o": "outcome"},
    }
    metrics = make_metrics(
        custom=tuple(counter(name=f"{name}_total", labels=labels) for name, labels in names.items())
    )
    begun = Call("tools/call", "nap", 1.0)
    metrics.server("cats").handle(CallOpened(begun))
    closed = CallClosed(begun, Outcome.SUCCESS, 2.0, transcript=texts)
    metrics.server("cats").handle(closed)
    figures = scrape(metrics)
    for name in names:
        reason = skips.get(name)
        assert skipped(figures, f"{name}_total") == ({} if reason is None else {reason: 1})
        assert figures.total(f"{name}_total") == (1 if reason is None else 0)


def test_a_call_that_had_no_answer_is_counted_all_the_same() -> None:
    metrics = make_metrics(custom=(counter(labels={"outcome": "outcome", "q": "result.q"}),))
    begun = Call("tools/call", "nap", 1.0)
    metrics.server("cats").handle(CallOpened(begun))
    texts = Transcript(REQUEST, b"")
    closed = CallClosed(begun, Outcome.UPSTREAM_TIMEOUT, 2.0, transcript=texts)
    metrics.server("cats").handle(closed)
    labels = {"outcome": "upstream_timeout", "q": "_unknown"}
    assert scrape(metrics)("x_total", server="cats", tool="_other", **labels) == 1


def test_a_rule_of_one_server_is_none_of_another() -> None:
    metrics = make_metrics(
        custom=(counter(servers=("dogs",)),),
        soft_errors=(SoftErrorSettings(when="result", servers=("dogs",)),),
    )
    for name in ("cats", "dogs"):
        for event in call(None, {"a": 1}):
            metrics.server(name).handle(event)
    figures = scrape(metrics)
    assert figures.values("x_total", "server") == {"dogs"}
    assert figures.values("mcp_tool_soft_errors_total", "server") == {"dogs"}
    assert figures.total("mcp_tool_calls_total", server="cats", outcome="success") == 1
    assert figures.total("mcp_tool_calls_total", server="dogs", outcome="tool_error") == 1


def test_a_duration_is_not_below_zero_by_rounding() -> None:
    metrics = make_metrics(custom=(counter(value="duration_seconds"),))
    begun = Call("tools/call", "nap", 1.0)
    metrics.server("cats").handle(CallOpened(begun))
    closed = CallClosed(begun, Outcome.SUCCESS, 1.3, waited=0.3000000001)
    metrics.server("cats").handle(closed)
    figures = scrape(metrics)
    assert figures.total("x_total") == 0
    assert skipped(figures, "x_total") == {}


def test_every_call_has_its_own_work() -> None:
    metrics = make_metrics(custom=(counter(value="length(arguments[*])"),))
    for _ in range(3):
        for event in call([1] * (MAX_WORK * 2 // 3)):
            metrics.server("cats").handle(event)
    assert scrape(metrics).total("x_total") == 3 * (MAX_WORK * 2 // 3)


def test_a_text_that_nobody_can_read_is_told_for_each_rule() -> None:
    metrics = make_metrics(
        custom=(counter(value="arguments.n"),),
        soft_errors=(SoftErrorSettings(when="arguments.n"),),
    )
    server = metrics.server("cats")
    for _ in range(2):
        begun = Call("tools/call", "nap", 1.0)
        server.handle(CallOpened(begun))
        texts = Transcript(DEEP, b"")
        server.handle(CallClosed(begun, Outcome.SUCCESS, 2.0, transcript=texts))
    figures = scrape(metrics)
    assert skipped(figures, "x_total") == {"unreadable": 2}
    assert skipped(figures, "mcp_tool_soft_errors_total") == {"unreadable": 2}
    assert figures.total("mcp_tool_calls_total", outcome="success") == 2


def test_unreadable_texts_matter_to_metrics_alone_too() -> None:
    metrics = make_metrics(custom=(counter(value="arguments.n"),))
    begun = Call("tools/call", "nap", 1.0)
    metrics.server("cats").handle(CallOpened(begun))
    closed = CallClosed(begun, Outcome.SUCCESS, 2.0, transcript=Transcript(DEEP, b""))
    metrics.server("cats").handle(closed)
    assert skipped(scrape(metrics), "x_total") == {"unreadable": 1}


def read(request: bytes, response: bytes = b"") -> Reading:
    """Read two texts."""
    begun = Call("tools/call", "nap", 1.0, Client("desk"))
    closed = CallClosed(begun, Outcome.SUCCESS, 2.0, transcript=Transcript(request, response))
    return read_call(closed, 1.0, Needs(request=True, response=True))


@pytest.mark.parametrize(
    ("request_text", "response_text", "arguments", "result"),
    [
        (b'{"params":{"arguments":{"a":1}}}', b'{"result":{"b":2}}', {"a": 1}, {"b": 2}),
        (b'{"params":{}}', b"{}", None, None),
        (b'{"params":[1]}', b"[]", None, None),
        (b"{}", b"", None, None),
        (
            b'\xef\xbb\xbf{"params":{"arguments":{"a":"\\ud800"}}}',
            b'{"result":{"b":"\xff\\ud83d"}}',
            {"a": "\ud800"},
            {"b": "\ufffd\ud83d"},
        ),
        (
            b'{"params":{"arguments":{"a":1e999}}}',
            b'{"result":{"b":NaN}}',
            {"a": float("inf")},
            None,
        ),
    ],
)
def test_texts_are_read_as_the_protocol_reads_them(
    request_text: bytes, response_text: bytes, arguments: object, result: object
) -> None:
    reading = read(request_text, response_text)
    assert (reading.request_gap, reading.response_gap) == (None, None)
    facts = reading.facts
    assert facts["arguments"] == arguments
    if b"NaN" not in response_text:
        assert facts["result"] == result


@pytest.mark.parametrize("texts", [(DEEP, b""), (b"{}", DEEP), (b"no", b""), (b"{}", b"no")])
def test_what_is_no_json_is_unreadable(texts: tuple[bytes, bytes]) -> None:
    reading = read(*texts)
    assert UNREADABLE in {reading.request_gap, reading.response_gap}


def test_what_nobody_asks_for_is_not_decoded() -> None:
    begun = Call("tools/call", "nap", 1.0)
    closed = CallClosed(begun, Outcome.SUCCESS, 2.0, transcript=Transcript(b"no", b"no"))
    facts = read_call(closed, 1.0, Needs()).facts
    assert json.dumps(facts["arguments"]) == json.dumps(facts["result"]) == "null"
