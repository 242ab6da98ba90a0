import random

import pytest

from mcp_proxy_exporter.observe.clients import ClientMetrics
from mcp_proxy_exporter.observe.labels import ClientNames
from mcp_proxy_exporter.observe.metrics import Metrics, ServerMetrics
from mcp_proxy_exporter.observe.words import OTHER, PROTOCOL_VERSIONS, UNKNOWN
from mcp_proxy_exporter.protocol.events import Call, CallClosed, CallOpened, Client, EraFellBack
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import HOSTILE_NAMES, make_metrics, scrape

REQUESTS = "mcp_client_requests_total"
OVERFLOW = "mcp_proxy_label_overflow_total"
FALLBACKS = "mcp_era_fallbacks_total"
V = "2025-11-25"


def send(server: ServerMetrics, name: str | None = None, version: str | None = None) -> Call:
    """Report a request that begins; its client is an object of its own, as from the wire."""
    call = Call("tools/list", None, 1.0, Client(name, version))
    server.handle(CallOpened(call))
    return call


def make_clients(metrics: Metrics, *, max_clients: int = 3) -> ClientMetrics:
    """Return the part that counts clients, without the rest of a server."""
    return ClientMetrics("cats", metrics.store, ClientNames(max_names=max_clients, max_length=128))


def test_a_request_is_counted_once_when_it_begins() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    call = send(server, "claude", V)
    labels = {"server": "cats", "client": "claude", "protocol_version": V}
    assert scrape(metrics)(REQUESTS, **labels) == 1
    server.handle(CallClosed(call, Outcome.SUCCESS, 2.0))
    assert scrape(metrics)(REQUESTS, **labels) == 1
    send(server, "claude", V)
    figures = scrape(metrics)
    assert figures(REQUESTS, **labels) == figures.total(REQUESTS) == 2


def test_requests_of_every_method_count() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for method in ("initialize", "tools/call", "subscriptions/listen", "no/such"):
        server.handle(CallOpened(Call(method, None, 1.0, Client("claude", V))))
    labels = {"server": "cats", "client": "claude", "protocol_version": V}
    assert scrape(metrics)(REQUESTS, **labels) == 4


@pytest.mark.parametrize(
    ("version", "label"),
    [
        *((version, version) for version in sorted(PROTOCOL_VERSIONS)),
        ("2026-07-29", OTHER),
        ("", OTHER),
        ("DRAFT-2026-v1", OTHER),
        (UNKNOWN, OTHER),
        (OTHER, OTHER),
        ("\ud800", OTHER),
        (None, UNKNOWN),
    ],
)
def test_revisions_are_a_closed_list(version: str | None, label: str) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for _ in range(2):
        send(server, "claude", version)
    labels = {"server": "cats", "client": "claude", "protocol_version": label}
    assert scrape(metrics)(REQUESTS, **labels) == 2


def test_who_gives_no_name_is_unknown_and_takes_no_place() -> None:
    metrics = make_metrics(max_clients=1)
    server = metrics.server("cats")
    server.handle(CallOpened(Call("ping", None, 1.0)))
    send(server)
    send(server, version=V)
    send(server, "claude", V)
    figures = scrape(metrics)
    assert figures(REQUESTS, server="cats", client=UNKNOWN, protocol_version=UNKNOWN) == 2
    assert figures(REQUESTS, server="cats", client=UNKNOWN, protocol_version=V) == 1
    assert figures(REQUESTS, server="cats", client="claude", protocol_version=V) == 1
    assert figures(OVERFLOW, server="cats", label="client") == 0


def test_the_empty_name_is_a_name() -> None:
    metrics = make_metrics()
    send(metrics.server("cats"), "", V)
    assert scrape(metrics).values(REQUESTS, "client") == {"_empty"}


def test_names_beyond_the_cap_are_other_and_overflow_at_each_request() -> None:
    metrics = make_metrics(max_clients=2)
    server = metrics.server("cats")
    for name in ("claude", "cursor", "third", "fourth", "third", "claude", OTHER, OTHER):
        send(server, name, V)
    figures = scrape(metrics)
    assert figures.values(REQUESTS, "client") == {"claude", "cursor", OTHER}
    assert figures(REQUESTS, server="cats", client="claude", protocol_version=V) == 2
    assert figures(REQUESTS, server="cats", client=OTHER, protocol_version=V) == 5
    assert figures(OVERFLOW, server="cats", label="client") == 5
    assert figures(OVERFLOW, server="cats", label="tool") == 0
    assert figures("mcp_proxy_label_values", server="cats", label="client") == 2
    assert figures("mcp_proxy_label_values_limit", server="cats", label="client") == 2


def test_servers_have_a_cap_each_and_figures_of_their_own() -> None:
    metrics = make_metrics(max_clients=1)
    for name in ("cats", "dogs"):
        send(metrics.server(name), f"client of {name}", V)
    figures = scrape(metrics)
    assert figures.values(REQUESTS, "client") == {"client of cats", "client of dogs"}
    for name in ("cats", "dogs"):
        assert figures("mcp_proxy_label_values", server=name, label="client") == 1
        assert figures("mcp_proxy_label_values_limit", server=name, label="client") == 1
    assert figures(OVERFLOW, server="cats", label="client") == 0


def test_names_that_read_the_same_share_their_series() -> None:
    metrics = make_metrics(max_clients=1)
    server = metrics.server("cats")
    for name in ("a\nb", "a\x00b", "a\ufffdb", "a\nb"):
        send(server, name, V)
    figures = scrape(metrics)
    assert figures(REQUESTS, server="cats", client="a\ufffdb", protocol_version=V) == 4
    assert figures(OVERFLOW, server="cats", label="client") == 0


@pytest.mark.parametrize(
    "client",
    [Client("claude", V), Client("claude"), Client(None, V), Client()],
    ids=repr,
)
def test_who_came_before_is_found_by_one_lookup(client: Client) -> None:
    clients = make_clients(make_metrics())
    found = clients.find(client)
    assert clients.known[Client(client.name, client.protocol_version)] is found


@pytest.mark.parametrize(
    "client",
    [
        Client("a\nb", V),
        Client("x" * 129, V),
        Client("", V),
        Client("claude", "invented"),
        Client("claude", OTHER),
        Client(None, "invented"),
    ],
    ids=range(6),
)
def test_what_can_be_invented_without_end_is_counted_and_not_remembered(client: Client) -> None:
    clients = make_clients(make_metrics())
    assert clients.find(client) is clients.find(client)
    assert not clients.known


def test_names_beyond_the_cap_are_not_remembered() -> None:
    clients = make_clients(make_metrics(), max_clients=3)
    for name in ("a", "b", "c", "d", OTHER):
        clients.find(Client(name, V))
    assert {client.name for client in clients.known} == {"a", "b", "c"}


def test_an_attacker_who_invents_names_and_revisions_fills_neither_labels_nor_memory() -> None:
    chance = random.Random(7)  # noqa: S311  # repeatable, no secret
    metrics = make_metrics()
    clients = make_clients(metrics, max_clients=20)
    for number in range(20_000):
        name = chance.choice((None, f"client-{chance.getrandbits(64)}", "x" * (130 + number % 999)))
        version = chance.choice((None, f"version-{number}", *sorted(PROTOCOL_VERSIONS)))
        clients.find(Client(name, version)).value += 1
    for name in (None, *clients.names._admitted):
        for version in (None, *PROTOCOL_VERSIONS):
            clients.find(Client(name, version))
    figures = scrape(metrics)
    assert figures.total(REQUESTS) == 20_000
    assert len(figures.values(REQUESTS, "client")) == 20 + 2
    assert figures.values(REQUESTS, "protocol_version") == {*PROTOCOL_VERSIONS, OTHER, UNKNOWN}
    assert len(clients.names) == 20
    assert len(clients.known) == (20 + 1) * (len(PROTOCOL_VERSIONS) + 1)
    assert all(len(client.name or "") <= 128 for client in clients.known)


def test_hostile_names_and_revisions_never_break_a_scrape() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for name in HOSTILE_NAMES:
        send(server, name, name)
        send(server, name, V)
    assert scrape(metrics).total(REQUESTS) == 2 * len(HOSTILE_NAMES)


def test_fallbacks_to_an_older_era_exist_at_zero_and_are_counted() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    assert scrape(metrics)(FALLBACKS, server="cats") == 0
    server.handle(EraFellBack())
    server.handle(EraFellBack())
    assert scrape(metrics)(FALLBACKS, server="cats") == 2
