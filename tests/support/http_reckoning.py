"""What became of the exchanges, sessions and streams of one server, as a recorder tells it.

Knows HTTP, and where MCP's sessions begin and end in it (docs/calls.md); does not know JSON-RPC
messages.
"""

import json
from collections import Counter

from tests.support.recorded_calls import Caps, Scope, Session, Stream
from tests.support.recorded_http import Exchange
from tests.support.tap import Side

SESSION = "mcp-session-id"
LISTEN = "subscriptions/listen"
OWN_ANSWER = b"mcp-proxy-exporter:"
MISDIRECTED = 421
NOT_FOUND = 404


class HttpReckoning:
    """The exchanges of one server."""

    def __init__(self, caps: Caps, refused_at: float | None) -> None:
        """Begin before the first exchange; `refused_at` is when connections ended for good."""
        self.exchanges: list[Exchange] = []
        """Those that are over."""
        self.streams: list[Stream] = []
        self.sessions: dict[str, Session] = {}
        self.uninspected: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.up: int | None = None
        self.last_answer: float | None = None
        self.blind: set[int] = set()
        """Exchanges with an event that nobody reads."""
        self._caps = caps
        self._refused_at = refused_at
        self._endpoints: dict[int, str] = {}
        self._long: dict[int, Stream] = {}
        self._heard: dict[str, float] = {}

    def find_scope(self, exchange: Exchange) -> Scope:
        """Return where the ids of an exchange's messages mean something."""
        if id(exchange) in self._endpoints:
            return "endpoint", self._endpoints[id(exchange)]
        if exchange.target in self._endpoints.values():
            return "endpoint", exchange.target
        session = exchange.fields.get(SESSION) or exchange.answer_fields.get(SESSION)
        return ("session", session) if session else ("exchange", id(exchange))

    def is_accepted_only(self, exchange: Exchange) -> bool:
        """Say whether the answer to a request comes on another exchange."""
        return exchange.target in self._endpoints.values() and exchange.status == 202

    def find_endpoint(self, exchange: Exchange) -> Scope | None:
        """Return the scope whose answers all come on this exchange."""
        endpoint = self._endpoints.get(id(exchange))
        return None if endpoint is None else ("endpoint", endpoint)

    def note_request(self, exchange: Exchange, at: float) -> None:
        """Take a request that is complete."""
        session = exchange.fields.get(SESSION)
        if session is not None:
            self._heard[session] = at
        coding = exchange.fields.get("content-encoding", "identity")
        if exchange.method != "POST":
            return
        if coding != "identity":
            self.uninspected["content_encoding"] += 1
        elif len(exchange.body) > self._caps.largest:
            self.uninspected["too_large"] += 1
        elif not _is_json(exchange.body):
            self.uninspected["invalid_json"] += 1

    def note_head(self, exchange: Exchange, at: float) -> None:
        """Take the head of an answer."""
        answer = exchange.answer_fields
        own = exchange.texts and exchange.texts[0].data.startswith(OWN_ANSWER)
        if own:
            self._note_failure(exchange)
        else:
            self.up, self.last_answer = 1, at
        session = answer.get(SESSION)
        if b'"initialize"' in exchange.body and session is not None:
            self._make_room()
            self.sessions[session] = Session(at)
            self._heard[session] = at
        if exchange.is_stream and exchange.method == "GET":
            self._open_stream(exchange, "get" if exchange.target == "/mcp" else "legacy_sse", at)
        elif exchange.is_stream and LISTEN.encode() in exchange.body:
            self._open_stream(exchange, "listen", at)

    def _note_failure(self, exchange: Exchange) -> None:
        if exchange.status == MISDIRECTED:
            return
        refused = self._refused_at is not None and exchange.began > self._refused_at
        self.failures["connect_refused" if refused else "closed_before_head"] += 1
        self.up = 0

    def _make_room(self) -> None:
        alive = [key for key, session in self.sessions.items() if session.ended is None]
        if len(alive) >= self._caps.sessions:
            oldest = min(alive, key=self._heard.__getitem__)
            self._close_session(oldest, "idle", self._heard[oldest])

    def _open_stream(self, exchange: Exchange, kind: str, at: float) -> None:
        stream = self._long[id(exchange)] = Stream(kind, at)
        stream.events = len(exchange.texts)
        self.streams.append(stream)

    def note_other(self, exchange: Exchange, data: bytes, event: str) -> bool:
        """Take what is no JSON-RPC message; say whether it was too large for one."""
        if event == "endpoint":
            self._endpoints[id(exchange)] = data.decode()
        elif len(data) > self._caps.largest:
            self.uninspected["too_large"] += 1
            self.blind.add(id(exchange))
            return True
        return False

    def note_end(self, exchange: Exchange, at: float) -> None:
        """Take the end of an exchange."""
        self.exchanges.append(exchange)
        stream = self._long.get(id(exchange))
        if stream is not None:
            stream.ended = at
        session = exchange.fields.get(SESSION)
        if session in self.sessions and exchange.status:
            if exchange.method == "DELETE" and 200 <= exchange.status < 300:
                self._close_session(session, "deleted", at)
            elif exchange.method == "POST" and exchange.status == NOT_FOUND:
                self._close_session(session, "expired", at)
        if exchange.broken_by is Side.SERVER:
            self.failures["truncated"] += 1

    def _close_session(self, session: str, reason: str, at: float) -> None:
        found = self.sessions[session]
        if found.ended is None:
            found.ended, found.reason = at, reason


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def read_loss(exchange: Exchange) -> str:
    """Say what the end of an exchange means for a call that it leaves unanswered."""
    own = bool(exchange.texts) and exchange.texts[0].data.startswith(OWN_ANSWER)
    if own:
        return "rejected" if exchange.status == 421 else "upstream_unreachable"
    if exchange.broken_by is Side.CLIENT:
        return "client_disconnected"
    if exchange.broken_by is Side.SERVER:
        return "upstream_closed"
    return "http_error" if exchange.status >= 400 else "invalid_response"
