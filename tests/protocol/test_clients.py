"""One object for each description of a client."""

from mcp_proxy_exporter.protocol import CallOpened, Client
from mcp_proxy_exporter.protocol.clients import MAX_CLIENTS, Clients
from mcp_proxy_exporter.protocol.ids import MAX_TEXT
from tests.support.inspection import Wire, only, request, result


def test_equal_clients_are_one_object() -> None:
    clients = Clients()
    first = clients.share(Client("cat", "2025-11-25"))
    assert clients.share(Client("cat", "2025-11-25")) is first
    assert clients.share(Client("cat", "2025-06-18")) is not first


def test_a_client_may_be_known_by_its_version_alone() -> None:
    clients = Clients()
    assert clients.find(None) == Client()
    assert clients.find(b"2025-11-25") == Client(None, "2025-11-25")
    assert clients.find(b"2025-11-25") is clients.find(b"2025-11-25")
    assert clients.find(b"2025-11-25") is clients.share(Client(None, "2025-11-25"))
    assert clients.find(b"\xff" * 5_000) == Client(None, "\xff" * MAX_TEXT)


def test_more_clients_than_are_remembered_are_described_all_the_same() -> None:
    clients = Clients()
    for number in range(MAX_CLIENTS):
        clients.find(b"%d" % number)
    late = clients.find(b"late")
    assert late == clients.find(b"late") == Client(None, "late")
    assert late is not clients.find(b"late")
    assert clients.find(b"0") is clients.find(b"0")
    shared = Client("cat")
    assert clients.share(shared) is shared
    assert clients.share(Client("cat")) is not shared


def test_requests_of_sessions_that_describe_themselves_alike_have_one_client() -> None:
    wire = Wire()
    params = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "cat"}}
    for session in (b"a", b"b"):
        turn = wire.post(request(1, "initialize", **params))
        turn.answer(result(1, {"protocolVersion": "2025-11-25"}), mcp_session_id=session)
        wire.post(request(2), mcp_session_id=session).answer(result(2))
    called = [event.call for event in only(wire.events, CallOpened)]
    clients = [call.client for call in called if call.method == "tools/call"]
    assert len(clients) == 2
    assert clients[0] is clients[1]
