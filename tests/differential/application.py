"""An ASGI application that says in each answer which request its server saw."""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]


async def application(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer 204 with what was seen."""
    assert scope["type"] == "http"
    body = b""
    more = True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        body += message.get("body", b"")
        more = message.get("more_body", False)
    target: bytes = scope["raw_path"]
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    saw = json.dumps([scope["method"], target.decode("latin-1"), fields, body.decode("latin-1")])
    headers = [(b"x-saw", base64.b64encode(saw.encode()))]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
