"""The rows of the fault matrix, and the cells that they make.

Knows what is wrong in each; the rules by which the rest follows are `fault_table`'s.
"""

from collections.abc import Iterator
from dataclasses import replace

from tests.support.fault_messages import (
    CALLS,
    FAULTY,
    GZIP,
    JSON_TYPE,
    Answer,
    Payload,
    Request,
    make_head,
    name_events,
    pack,
    with_length,
)
from tests.support.fault_scripts import (
    Part,
    Script,
    answer_in_chunks,
    answer_then,
    break_off,
    by_chunk,
    by_end,
    by_length,
    by_open_chunk,
    drip,
    first_event,
    half,
    nothing,
    pause,
    play,
    stay_silent,
    whole,
)
from tests.support.fault_table import Cell, Fault, Limit, Stage, combine, explain_absence
from tests.support.scripted_upstream import CLOSE, RESET, Step

JSON, EVENTS, TEXT, NONE = Answer.JSON, Answer.EVENTS, Answer.TEXT, Answer.NONE
_ENDS = {"fin": CLOSE, "rst": RESET}

# The place alone is at fault, and gives the row its name.
_PLACES = {
    "refused": "connect_refused",
    "syn_dropped": "connect_timeout",
    "unknown_name": "dns",
    "silent_resolver": "dns",
    "no_socket_file": "connect_failed",
    "dead_socket_file": "connect_refused",
    "tls_wrong_authority": "tls",
    "tls_expired": "tls",
    "tls_wrong_name": "tls",
    "tls_plain_server": "tls",
    "tls_fin_in_handshake": "tls",
    "tls_rst_in_handshake": "tls",
    "tls_silent_handshake": "connect_timeout",
}


def _make_connects() -> Iterator[Fault]:
    """No connection, or one that is lost before it is of use: which of both is seen, is chance."""
    for place, reason in _PLACES.items():
        limit = Limit.CONNECT if reason == "connect_timeout" else Limit.NONE
        yield Fault(name=place, stage=Stage.CONNECT, place=place, reasons=(reason,), limit=limit)
    yield Fault(
        name="rst_on_accept",
        stage=Stage.ACCEPT,
        script=play(RESET),
        reasons=("closed_before_head", "connect_failed"),
    )
    # In TLS 1.3 the refusal comes after our side of the handshake (RFC 8446 section 4.4.2.4).
    name = "tls_wants_a_certificate"
    reasons = ("closed_before_head", "tls")
    yield Fault(name=name, stage=Stage.ACCEPT, place=name, reasons=reasons)


_BAD_HEADS: dict[str, tuple[bytes, Limit]] = {
    "garbage": (b"220 mail.test ESMTP\r\n", Limit.NONE),
    "head_too_large": (make_head(b"X-Padding: " + b"x" * 70_000), Limit.HEAD_BYTES),
    "head_of_many_fields": (make_head(*[b"X-%d: y" % i for i in range(300)]), Limit.HEAD_FIELDS),
    "switching_protocols": (
        make_head(b"Upgrade: h2c", status=b"101 Switching Protocols"), Limit.NONE
    ),
    "two_lengths": (
        make_head(JSON_TYPE, b"Content-Length: 2", b"Transfer-Encoding: chunked"), Limit.NONE
    ),
}  # fmt: skip


def _make_heads() -> Iterator[Fault]:
    for name, end in _ENDS.items():
        row = Fault(
            name=f"{name}_before_head",
            stage=Stage.HEAD,
            script=play(end),
            reasons=("closed_before_head",),
        )
        yield replace(row, repeatable=True)
        part = b"HTTP/1.1 200 OK\r\nConte"
        yield replace(row, name=f"{name}_within_head", script=play(part, pause, end))
        hint = make_head(status=b"103 Early Hints")
        yield replace(row, name=f"{name}_after_a_hint", script=play(hint, pause, end))
    row = Fault(name="", stage=Stage.HEAD, reasons=("bad_response",))
    for name, (head, limit) in _BAD_HEADS.items():
        yield replace(row, name=name, script=play(head), limit=limit)
    row = replace(row, script=play(stay_silent))
    for limit, reason in (
        (Limit.RESPONSE_HEAD, "response_timeout"),
        (Limit.TOTAL, "total_timeout"),
    ):
        yield replace(row, name=f"silence_until_{limit}", reasons=(reason,), limit=limit)


def _make_bodies() -> Iterator[Fault]:
    json, events = {JSON: "upstream_closed"}, {EVENTS: "upstream_closed"}
    for name, end in _ENDS.items():
        yield _cut(f"{name}_within_length", json, break_off(by_length, half, end), half)
        both = json | events
        yield _cut(f"{name}_within_chunk", both, break_off(by_open_chunk, half, end), half)
        # Of events: within one.
        yield _cut(f"{name}_after_a_chunk", both, break_off(by_chunk, half, end), half)
        script = break_off(by_chunk, first_event, end)
        yield _cut(f"{name}_between_events", events, script, first_event)
        # The client may come back for the answer, and does not.
        script = break_off(by_chunk, _first_named_event, end)
        abandoned = {EVENTS: "abandoned"}
        yield _cut(f"{name}_between_named_events", abandoned, script, _first_named_event)
        # The call has its answer: what breaks afterwards is the stream's loss alone.
        script = break_off(by_chunk, whole, end)
        row = _cut(f"{name}_after_the_answer_event", {EVENTS: "success"}, script, whole)
        yield replace(row, requests=CALLS)
    yield _cut("rst_until_close", json | events, break_off(by_end, half, RESET), half)
    bad: tuple[tuple[str, bytes, Part], ...] = (
        ("bad_chunk_size", b"zz\r\n", half),
        ("chunk_longer_than_its_size", b"1\r\nab\r\n", lambda payload: half(payload) + b"a"),
    )
    for name, broken, part in bad:
        row = _cut(name, json | events, break_off(by_chunk, half, broken), part)
        yield replace(row, reasons=("bad_response",))
    timeout = {JSON: "upstream_timeout", EVENTS: "upstream_timeout"}
    row = _cut("silence_within_body", timeout, break_off(by_chunk, half, stay_silent), half)
    # An event stream that answers a GET has no limit; nor is an upload awaited after its answer.
    requests = frozenset({Request.CALL, Request.DELETE})
    yield replace(row, reasons=("total_timeout",), limit=Limit.TOTAL, requests=requests)


def _cut(name: str, outcomes: dict[Answer, str], script: Script, body: Part) -> Fault:
    return Fault(
        name=name,
        stage=Stage.BODY,
        script=script,
        reasons=("truncated",),
        outcomes=outcomes,
        body=body,
    )


_REFUSALS = (
    b"401 Unauthorized",
    b"403 Forbidden",
    b"404 Not Found",
    b"429 Too Many Requests",
    b"500 Internal Server Error",
    b"503 Service Unavailable",
)


def _make_refusals() -> Iterator[Fault]:
    """HTTP errors pass as they are."""
    refused = {JSON: "http_error", TEXT: "http_error"}
    for status in _REFUSALS:
        yield _answer(f"status_{status[:3].decode()}", _refuse, refused, status=status)
    bad, broken = b"400 Bad Request", b"500 Internal Server Error"
    error = {JSON: "protocol_error"}
    yield _answer("status_400_and_the_calls_error", lambda _: _ERROR % _ID, error, status=bad)
    error = {JSON: "http_error"}
    yield _answer("status_400_and_no_calls_error", lambda _: _ERROR % b"null", error, status=bad)
    yield _answer("status_500_and_a_result", whole, error, status=broken)


_ID = b"%d" % FAULTY
_ERROR = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32600,"message":"no"}}'


def _make_useless() -> Iterator[Fault]:
    """What is whole to HTTP and worth nothing to a call."""
    invalid, closed = "invalid_response", "upstream_closed"
    yield _answer("html", lambda _: b"<html></html>", {TEXT: invalid})
    yield _answer("broken_json", _break_json, {JSON: invalid, EVENTS: invalid})
    yield _answer("answer_to_another", _rename, {JSON: invalid, EVENTS: closed})
    yield _answer("no_body", nothing, {JSON: invalid, EVENTS: closed, TEXT: invalid})
    yield _answer("accepted", nothing, {JSON: invalid, TEXT: invalid}, status=b"202 Accepted")
    row = _answer("no_content", nothing, {NONE: invalid}, status=b"204 No Content")
    yield replace(row, script=play(make_head(status=b"204 No Content")))
    packed = {JSON: invalid, EVENTS: closed}
    yield _answer("gzip_cut_short", lambda payload: pack(payload.whole)[:-12], packed, GZIP)
    packed = {JSON: "uninspected", EVENTS: "uninspected"}
    yield _answer("gzip_that_is_none", whole, packed, GZIP)
    # Nobody can tell this end from a meant one (RFC 9112 section 6.3, rule 8).
    row = _answer("fin_until_close", half, {JSON: invalid, EVENTS: closed})
    yield replace(row, script=break_off(by_end, half, CLOSE))


def _make_harmless() -> Iterator[Fault]:
    """Good answers with something wrong about them."""
    poison = with_length(b"POISON", JSON_TYPE)
    row = _answer("", whole, {JSON: "success", EVENTS: "success"})
    for name, end in _ENDS.items():
        yield replace(row, name=f"{name}_after_the_answer", script=answer_then(end))
    yield replace(row, name="longer_than_its_length", script=answer_then(joined=b"more"))
    yield replace(row, name="answer_after_the_answer", script=answer_then(joined=poison))
    yield replace(row, name="bytes_after_the_last_chunk", script=answer_in_chunks(b"more"))
    yield replace(row, name="slow_drip", script=drip)
    idle: dict[str, Step] = {
        "fin_while_idle": CLOSE,
        "rst_while_idle": RESET,
        "answer_while_idle": poison,
        "junk_while_idle": b"x",
    }
    for name, step in idle.items():
        yield Fault(name=name, stage=Stage.IDLE, script=play(step))


def _answer(
    name: str,
    body: Part,
    outcomes: dict[Answer, str],
    *fields: bytes,
    status: bytes = b"200 OK",
) -> Fault:
    """Make a row whose answer is whole."""
    return Fault(
        name=name,
        stage=Stage.ANSWER,
        script=lambda payload: (
            with_length(body(payload), payload.content_type, *fields, status=status),
        ),
        status=int(status[:3]),
        outcomes=outcomes,
        body=body,
    )


def _first_named_event(payload: Payload) -> bytes:
    return name_events(first_event(payload))


def _refuse(payload: Payload) -> bytes:
    return b'{"error":"no"}' if payload.content_type == JSON_TYPE else b"no"


def _break_json(payload: Payload) -> bytes:
    return payload.whole.replace(b"{", b"{{")


def _rename(payload: Payload) -> bytes:
    return payload.whole.replace(b'"id":%b' % _ID, b'"id":99')


ROWS = (
    *_make_connects(),
    *_make_heads(),
    *_make_bodies(),
    *_make_refusals(),
    *_make_useless(),
    *_make_harmless(),
)
CELLS: tuple[Cell, ...] = tuple(cell for cell in combine(ROWS) if not explain_absence(cell))
