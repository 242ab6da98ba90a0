"""Clients that find out a server's era: a refused probe, and what it is followed by."""

import pytest

from mcp_proxy_exporter.protocol import EraFellBack
from mcp_proxy_exporter.protocol.negotiation import FALLBACK_SECONDS, MAX_NAMES, Negotiations
from tests.support.inspection import JSON, Wire, error, only, request, result

META = "io.modelcontextprotocol/"


def discover(wire: Wire, name: str | None = None, status: int = 400, answer: bytes = b"") -> None:
    """Probe, and be refused."""
    meta: dict[str, object] = {META + "protocolVersion": "2026-07-28"}
    if name is not None:
        meta[META + "clientInfo"] = {"name": name}
    fields = JSON if answer else {}
    wire.post(request("probe", "server/discover", _meta=meta)).answer(answer, status, fields)


def initialize(wire: Wire, name: str | None = None) -> int:
    """Begin in the old way; tell how often a client fell back meanwhile."""
    info = {} if name is None else {"clientInfo": {"name": name}}
    turn = wire.post(request(1, "initialize", **info))
    turn.answer(result(1))
    return len(only(turn.begun, EraFellBack))


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (400, b""),
        (404, b""),
        (400, error("server-error", -32600, "Bad Request")),
        (200, error("probe", -32601, "Method not found")),
        (404, error("probe", -32601, "Method not found")),
        (500, result("probe")),
    ],
)
def test_initialize_after_a_refused_probe_is_a_fallback(status: int, answer: bytes) -> None:
    wire = Wire()
    discover(wire, "cat", status, answer)
    assert initialize(wire, "cat") == 1
    assert initialize(wire, "cat") == 0
    assert wire.holds_nothing()


@pytest.mark.parametrize(
    ("status", "answer"), [(200, result("probe", {"supportedVersions": []})), (202, b"")]
)
def test_initialize_after_a_probe_that_was_not_refused_is_none(status: int, answer: bytes) -> None:
    wire = Wire()
    discover(wire, "cat", status, answer)
    assert initialize(wire, "cat") == 0


def test_another_refused_request_is_no_probe() -> None:
    wire = Wire()
    wire.post(request(1, "tools/list")).answer(error(1, -32601), 404)
    wire.post(request(1, "initialize")).answer(error(1, -32601), 404)
    wire.post(request(1, "ping")).answer(b"", 404, {})
    assert initialize(wire) == 0


def test_a_probe_need_not_say_who_it_is() -> None:
    wire = Wire()
    discover(wire)
    assert initialize(wire, "cat") == 1
    assert initialize(wire, "cat") == 0


def test_a_client_of_another_name_did_not_fall_back() -> None:
    wire = Wire()
    discover(wire, "cat")
    assert initialize(wire, "dog") == 0
    assert initialize(wire) == 0
    assert initialize(wire, "cat") == 1


def test_each_refusal_is_followed_by_one_fallback() -> None:
    wire = Wire()
    for name in ("cat", None, "cat"):
        discover(wire, name)
    assert [initialize(wire, "cat") for _ in range(4)] == [1, 1, 1, 0]


def test_what_comes_too_late_is_another_client() -> None:
    wire = Wire()
    discover(wire, "cat")
    wire.now = FALLBACK_SECONDS + 0.1
    assert initialize(wire, "cat") == 0
    discover(wire, "cat")
    wire.now += FALLBACK_SECONDS
    assert initialize(wire, "cat") == 1


def test_who_never_comes_back_is_forgotten() -> None:
    wire = Wire()
    discover(wire, "cat")
    wire.now = 30.0
    discover(wire, "dog")
    wire.sweep(FALLBACK_SECONDS)
    assert initialize(wire, "cat") == 0
    assert initialize(wire, "dog") == 1
    assert wire.holds_nothing()


def test_there_is_room_for_so_many_names() -> None:
    negotiations = Negotiations()
    for number in range(MAX_NAMES + 1):
        negotiations.refuse(str(number), float(number) / MAX_NAMES)
    assert not negotiations.fall_back("0", 1.0)
    assert negotiations.fall_back("1", 1.0)
    assert negotiations.fall_back(str(MAX_NAMES), 1.0)
