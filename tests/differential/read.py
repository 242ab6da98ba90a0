"""How h11 and httptools, in this process, read what the proxy forwards.

Know nothing of the proxy. Each returns the whole requests, and why it read no further (or "").
"""

import h11
import httptools

from tests.differential.record import Seen

Reading = tuple[list[Seen], str]


def read_with_h11(wire: bytes) -> Reading:
    """Read as h11, under uvicorn and hypercorn, does."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(wire)
    seen: list[Seen] = []
    head = h11.Request(method="GET", target="/", headers=[("Host", "a")])
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                seen.append(Seen(head.method, head.target, tuple(head.headers), body))
                connection.send(h11.Response(status_code=204, headers=[]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                assert event is h11.NEED_DATA
                return seen, ""
    except h11.RemoteProtocolError as error:
        return seen, str(error)


class _Callbacks:
    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.parser = httptools.HttpRequestParser(self)
        self._target = self._body = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._in_body = False

    def on_message_begin(self) -> None:
        self._target = self._body = b""
        self._fields = []
        self._in_body = False

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # httptools calls it for trailers too
            self._fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self.parser.get_method()
        self.seen.append(Seen(method, self._target, tuple(self._fields), self._body))


def read_with_httptools(wire: bytes) -> Reading:
    """Read as httptools, under uvicorn and sanic, does."""
    callbacks = _Callbacks()
    try:
        callbacks.parser.feed_data(wire)
    except httptools.HttpParserError as error:
        return callbacks.seen, f"{type(error).__name__}: {error}"
    return callbacks.seen, ""
