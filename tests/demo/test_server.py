"""The cats' server on the HTTP layer: statuses, headers, sessions, streams, bad input."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from mcp_proxy_exporter.demo import rpc, server
from mcp_proxy_exporter.demo.server import CatServer

ACCEPT = "application/json, text/event-stream"


class Wire:
    """Posts JSON-RPC messages as either era does."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url
        self.session: dict[str, str] = {}

    async def post(
        self, message: object, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Return the status, the JSON (or stream of messages, or None) and the headers."""
        headers = {"Accept": ACCEPT, "Content-Type": "application/json", **(headers or {})}
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        async with self.http.post(self.url, data=body, headers=headers) as answer:
            text = await answer.text()
            if answer.content_type == "text/event-stream":
                return answer.status, read_events(text), answer.headers
            return answer.status, json.loads(text) if text else None, answer.headers

    async def open_session(self, version: str = "2025-11-25") -> None:
        greeting = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t"}}
        status, answer, headers = await self.post(rpc.build_request(0, "initialize", greeting))
        assert (status, answer["result"]["protocolVersion"]) == (200, version)
        self.session = {
            "Mcp-Session-Id": headers["Mcp-Session-Id"],
            "MCP-Protocol-Version": version,
        }

    async def ask_legacy(self, method: str, params: object = None, request_id: object = 1) -> Any:
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}}
        status, answer, _ = await self.post(message, self.session)
        return status, answer

    async def ask_modern(
        self, method: str, params: Mapping[str, object] | None = None, **headers: str
    ) -> Any:
        meta = {rpc.META_VERSION: "2026-07-28", rpc.META_CAPABILITIES: {}}
        params = {"_meta": meta, **(params or {})}
        sent = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
        if "name" in params:
            sent["Mcp-Name"] = str(params["name"])
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        status, answer, _ = await self.post(message, sent)
        return status, answer


def read_events(text: str) -> list[Any]:
    events = text.split("\n\n")
    assert events.pop() == ""
    return [json.loads(event.removeprefix("event: message\ndata: ")) for event in events]


@pytest.fixture
def wire(cats: CatServer, http: aiohttp.ClientSession) -> Wire:
    return Wire(http, cats.url)


# Addresses


async def test_any_free_port_is_taken_and_told(cats: CatServer) -> None:
    assert cats.origin.startswith("http://127.0.0.1:")
    assert cats.url == cats.origin + "/mcp"


async def test_an_ipv6_address_is_written_in_brackets() -> None:
    cats = CatServer(host="::1")
    await cats.start()
    try:
        assert cats.origin.startswith("http://[::1]:")
    finally:
        await cats.stop()


async def test_a_port_in_use_is_an_os_error(cats: CatServer) -> None:
    port = int(cats.origin.rpartition(":")[2])

    with pytest.raises(OSError, match="address already in use"):
        await CatServer(port=port).start()


async def test_other_paths_are_not_found(cats: CatServer, http: aiohttp.ClientSession) -> None:
    async with http.get(cats.origin + "/") as answer:
        assert answer.status == 404


# Both eras


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:6274", 200),
        ("http://127.0.0.1", 200),
        ("http://[::1]:80", 200),
        ("https://evil.example", 403),
        ("http://10.0.0.1", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
async def test_only_pages_of_this_machine_may_ask(wire: Wire, origin: str, status: int) -> None:
    got, _, _ = await wire.post(rpc.build_request(1, "initialize", {}), {"Origin": origin})

    assert got == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Accept": "application/json"}, 406),
        ({"Accept": "text/event-stream"}, 406),
        ({"Accept": "*/*"}, 200),
        ({"Accept": "Application/*;q=0.5, text/*"}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
    ],
)
async def test_media_types_are_negotiated(
    wire: Wire, headers: Mapping[str, str], status: int
) -> None:
    got, answer, _ = await wire.post(rpc.build_request(1, "initialize", {}), headers)

    assert got == status
    assert (answer["id"] is None) == (status != 200)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"id": NaN}', b"\xff\xfe", b"[" * 5000, b'{"jsonrpc": "2.0"} {}'],
    ids=["empty", "truncated", "nan", "no utf-8", "deep", "two"],
)
async def test_what_is_no_json_is_a_parse_error(wire: Wire, body: bytes) -> None:
    status, answer, _ = await wire.post(body)

    assert (status, answer["error"]["code"], answer["id"]) == (400, -32700, None)


async def test_a_lone_surrogate_does_no_harm(wire: Wire) -> None:
    await wire.open_session()

    status, answer, _ = await wire.post(
        b'{"jsonrpc": "2.0", "id": "\\ud800", "method": "ping"}', wire.session
    )

    assert (status, answer["error"]["code"]) == (400, -32700)


# 2025-03-26 to 2025-11-25


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        (None, "2025-11-25"),
    ],
)
async def test_versions_are_negotiated(wire: Wire, asked: str | None, given: str) -> None:
    message = rpc.build_request(0, "initialize", {"protocolVersion": asked})

    status, answer, headers = await wire.post(message)

    assert (status, answer["result"]["protocolVersion"]) == (200, given)
    assert answer["result"]["serverInfo"]["name"] == "cats"
    assert len(headers["Mcp-Session-Id"]) == 32


async def test_every_session_is_another(wire: Wire) -> None:
    await wire.open_session()
    first = wire.session
    await wire.open_session()

    assert wire.session != first


@pytest.mark.parametrize("params", [[], None, 7])
async def test_initialize_without_an_object_is_refused(wire: Wire, params: object) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}

    status, answer, _ = await wire.post(message)

    assert (status, answer["error"]["code"]) == (400, -32602)


async def test_a_request_without_session_is_bad_and_an_unknown_session_not_found(
    wire: Wire,
) -> None:
    assert (await wire.ask_legacy("ping"))[0] == 400
    wire.session = {"Mcp-Session-Id": "nobody"}
    assert (await wire.ask_legacy("ping"))[0] == 404


async def test_an_unknown_version_in_a_session_is_bad(wire: Wire) -> None:
    await wire.open_session()
    wire.session["MCP-Protocol-Version"] = "1999-01-01"

    assert (await wire.ask_legacy("ping"))[0] == 400


async def test_a_session_needs_no_version_header(wire: Wire) -> None:
    await wire.open_session()
    del wire.session["MCP-Protocol-Version"]

    assert await wire.ask_legacy("ping") == (200, {"jsonrpc": "2.0", "id": 1, "result": {}})


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/unheard_of", "params": {}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": []}},
        {"jsonrpc": "2.0", "id": 5, "result": {}},
    ],
)
async def test_what_expects_no_answer_is_accepted_without_a_body(
    wire: Wire, message: object
) -> None:
    await wire.open_session()

    status, answer, _ = await wire.post(message, wire.session)

    assert (status, answer) == (202, None)


@pytest.mark.parametrize(
    "message",
    [
        "ping",
        7,
        {"jsonrpc": "2.0", "id": 1, "method": 7},
        {"jsonrpc": "2.0", "id": None, "method": "ping"},
    ],
)
async def test_what_is_no_message_is_bad(wire: Wire, message: object) -> None:
    await wire.open_session()

    status, answer, _ = await wire.post(message, wire.session)

    assert (status, answer["id"]) == (400, None)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("no/such/method", {}, -32601),
        ("server/discover", {}, -32601),
        ("tools/list", {"cursor": "2"}, -32602),
        ("tools/call", {"name": "climb_curtain"}, -32602),
        ("tools/call", {"name": 7}, -32602),
        ("tools/call", {"name": "nap", "arguments": []}, -32602),
        ("ping", ["positional"], -32602),
    ],
)
async def test_legacy_errors_travel_on_200(
    wire: Wire, method: str, params: object, code: int
) -> None:
    await wire.open_session()

    status, answer = await wire.ask_legacy(method, params)

    assert (status, answer["id"], answer["error"]["code"]) == (200, 1, code)


async def test_legacy_results_carry_nothing_of_the_modern_era(wire: Wire) -> None:
    await wire.open_session()

    _, called = await wire.ask_legacy("tools/call", {"name": "catch_laser"})
    _, listed = await wire.ask_legacy("tools/list")

    assert called["result"].keys() == {"content", "isError"}
    assert listed["result"].keys() == {"tools"}


async def test_ids_come_back_as_they_were_sent(wire: Wire) -> None:
    await wire.open_session()

    for request_id in (0, "0", "", -7, "id-ä"):
        _, answer = await wire.ask_legacy("ping", request_id=request_id)
        assert answer["id"] == request_id
        assert type(answer["id"]) is type(request_id)


async def test_a_nap_is_a_stream_that_ends_with_its_answer(wire: Wire) -> None:
    await wire.open_session()
    params = {"name": "nap", "arguments": {"seconds": 0.02}, "_meta": {"progressToken": "t"}}

    status, events = await wire.ask_legacy("tools/call", params)

    assert status == 200
    assert [event["params"]["progress"] for event in events[:-1]] == [1, 2, 3, 4]
    assert {event["params"]["progressToken"] for event in events[:-1]} == {"t"}
    assert events[-1]["id"] == 1
    assert events[-1]["result"]["structuredContent"] == {"slept_seconds": 0.02}


async def test_a_nap_without_a_token_reports_no_progress(wire: Wire) -> None:
    await wire.open_session()

    _, events = await wire.ask_legacy("tools/call", {"name": "nap", "arguments": {"seconds": 0.02}})

    assert len(events) == 1


async def test_a_nap_of_no_length_is_answered_at_once(wire: Wire) -> None:
    await wire.open_session()

    _, answer = await wire.ask_legacy("tools/call", {"name": "nap", "arguments": {"seconds": 0}})

    assert answer["result"]["structuredContent"] == {"slept_seconds": 0}


async def test_progress_arrives_while_the_nap_goes_on(wire: Wire) -> None:
    await wire.open_session()
    params = {"name": "nap", "arguments": {"seconds": 0.8}, "_meta": {"progressToken": 1}}
    headers = {"Accept": ACCEPT, **wire.session}
    clock = asyncio.get_running_loop().time

    message = rpc.build_request(1, "tools/call", params)
    async with wire.http.post(wire.url, json=message, headers=headers) as answer:
        head = clock()
        await answer.content.readuntil(b"\n\n")
        first = clock()
        await answer.read()

    # Steps are 0.2 s apart, the end is three of them after the first.
    assert first - head > 0.1
    assert clock() - first > 0.3


async def test_a_cancelled_nap_ends_with_an_error_of_its_own(wire: Wire) -> None:
    await wire.open_session()
    nap = asyncio.create_task(
        wire.ask_legacy("tools/call", {"name": "nap", "arguments": {"seconds": 30}}, request_id=9)
    )
    cancel = rpc.build_notification("notifications/cancelled", {"requestId": 9})

    async with asyncio.timeout(5):
        while not nap.done():
            # Until the nap has begun a cancellation names no call and is ignored.
            await wire.post(cancel, wire.session)
        _, events = await nap

    assert events[-1]["error"] == {"code": -32800, "message": "Request cancelled"}


async def test_deleting_a_session_ends_it_and_its_naps(wire: Wire) -> None:
    await wire.open_session()
    params = {"name": "nap", "arguments": {"seconds": 30}}
    message = rpc.build_request(1, "tools/call", params)
    async with wire.http.post(
        wire.url, json=message, headers={"Accept": ACCEPT, **wire.session}
    ) as nap:
        async with wire.http.delete(wire.url, headers=wire.session) as deleted:
            assert deleted.status == 200
        async with asyncio.timeout(5):
            assert b"-32800" in await nap.read()

    assert (await wire.ask_legacy("ping"))[0] == 404
    async with wire.http.delete(wire.url, headers=wire.session) as again:
        assert again.status == 404
    async with wire.http.delete(wire.url) as nobody:
        assert nobody.status == 400


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
async def test_there_is_no_stream_to_get(wire: Wire, method: str) -> None:
    async with wire.http.request(method, wire.url) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST, DELETE"


async def test_the_session_unused_longest_is_forgotten_first(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_SESSIONS", 2)
    sessions = []
    for _ in range(2):
        await wire.open_session()
        sessions.append(wire.session)
    wire.session = sessions[0]
    await wire.ask_legacy("ping")
    await wire.open_session()
    sessions.append(wire.session)

    statuses = []
    for wire.session in sessions:
        statuses.append((await wire.ask_legacy("ping"))[0])

    assert statuses == [200, 404, 200]


async def test_a_batch_is_answered_in_the_one_revision_that_has_them(wire: Wire) -> None:
    await wire.open_session("2025-03-26")
    nap = {"name": "nap", "arguments": {"seconds": 0.01}}
    batch = [
        rpc.build_request(1, "ping", {}),
        rpc.build_notification("notifications/initialized"),
        rpc.build_request("2", "tools/call", nap),
        rpc.build_request(3, "no/such/method", {}),
        "nonsense",
    ]

    status, answers, _ = await wire.post(batch, wire.session)

    assert status == 200
    assert [answer["id"] for answer in answers] == [1, "2", 3, None]
    assert answers[1]["result"]["structuredContent"] == {"slept_seconds": 0.01}
    assert [answer["error"]["code"] for answer in answers[2:]] == [-32601, -32600]


async def test_a_batch_of_notifications_is_accepted(wire: Wire) -> None:
    await wire.open_session("2025-03-26")

    batch = [rpc.build_notification("notifications/initialized")]

    assert (await wire.post(batch, wire.session))[0] == 202


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
async def test_other_batches_are_refused(wire: Wire, version: str) -> None:
    await wire.open_session(version)
    batch = [] if version == "2025-03-26" else [rpc.build_request(1, "ping", {})]

    status, answer, _ = await wire.post(batch, wire.session)

    assert (status, answer["error"]["code"]) == (400, -32600)


# 2026-07-28


async def test_discovery_names_versions_and_capabilities(wire: Wire) -> None:
    status, answer = await wire.ask_modern("server/discover")

    result = answer["result"]
    assert status == 200
    assert result["supportedVersions"] == ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
    assert result["capabilities"] == {"tools": {"listChanged": False}}
    assert result["resultType"] == "complete"
    assert result["_meta"][rpc.META_SERVER]["name"] == "cats"


async def test_modern_lists_say_how_long_they_may_be_kept(wire: Wire) -> None:
    _, answer = await wire.ask_modern("tools/list")

    assert len(answer["result"]["tools"]) == 4
    assert answer["result"]["cacheScope"] == "public"
    assert answer["result"]["ttlMs"] > 0


async def test_a_modern_nap_streams_too(wire: Wire) -> None:
    params = {"name": "nap", "arguments": {"seconds": 0.02}}

    status, events = await wire.ask_modern("tools/call", params)

    assert status == 200
    assert events[-1]["result"]["resultType"] == "complete"


@pytest.mark.parametrize(
    ("method", "params", "headers", "status", "code"),
    [
        ("no/such/method", {}, {}, 404, -32601),
        ("ping", {}, {}, 404, -32601),
        ("initialize", {}, {}, 404, -32601),
        ("tools/call", {"name": "nap"}, {"Mcp_Name": "catch_laser"}, 400, -32020),
        ("tools/list", {}, {"Mcp_Method": "tools/call"}, 400, -32020),
        ("tools/list", {}, {"MCP_Protocol_Version": "2025-11-25"}, 400, -32020),
        ("tools/list", {"_meta": {}}, {}, 400, -32602),
        ("tools/list", {"cursor": "2"}, {}, 200, -32602),
        ("tools/call", {"name": "climb_curtain"}, {}, 200, -32602),
    ],
)
async def test_modern_errors_carry_their_status(
    wire: Wire,
    method: str,
    params: Mapping[str, object],
    headers: dict[str, str],
    status: int,
    code: int,
) -> None:
    got, answer = await wire.ask_modern(method, params, **headers)

    assert (got, answer["id"], answer["error"]["code"]) == (status, 1, code)


async def test_an_unknown_modern_version_is_told_the_known_ones(wire: Wire) -> None:
    meta = {rpc.META_VERSION: "2099-01-01", rpc.META_CAPABILITIES: {}}

    status, answer = await wire.ask_modern(
        "tools/list", {"_meta": meta}, MCP_Protocol_Version="2099-01-01"
    )

    assert (status, answer["error"]["code"]) == (400, -32022)
    assert answer["error"]["data"]["requested"] == "2099-01-01"
    assert "2026-07-28" in answer["error"]["data"]["supported"]


async def test_a_modern_notification_is_accepted_and_dropped(wire: Wire) -> None:
    message = rpc.build_notification("notifications/cancelled", {"requestId": 1})

    status, answer, _ = await wire.post(message, {"MCP-Protocol-Version": "2026-07-28"})

    assert (status, answer) == (202, None)


@pytest.mark.parametrize("message", [[], {}, {"id": 1, "result": {}}, {"id": None, "method": "x"}])
async def test_what_is_no_modern_request_is_bad(wire: Wire, message: object) -> None:
    status, answer, _ = await wire.post(message, {"MCP-Protocol-Version": "2026-07-28"})

    assert (status, answer["error"]["code"]) == (400, -32600)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_the_modern_endpoint_is_post_only(wire: Wire, method: str) -> None:
    headers = {"MCP-Protocol-Version": "2026-07-28"}
    async with wire.http.request(method, wire.url, headers=headers) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"


# The end


async def test_stopping_does_not_wait_for_naps(
    cats: CatServer, http: aiohttp.ClientSession
) -> None:
    wire = Wire(http, cats.url)
    nap = asyncio.create_task(
        wire.ask_modern("tools/call", {"name": "nap", "arguments": {"seconds": 60}})
    )
    async with asyncio.timeout(1):
        # The stop waits for what is on its way: this answer is behind the nap's request.
        await wire.ask_modern("tools/list")
        await cats.stop()
    with pytest.raises(aiohttp.ClientError):
        await nap
