"""What recorded exchanges say as JSON-RPC: messages with their texts, in the order of their times.

Knows where messages stand in HTTP and which members they have; does not know what became of a call.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.recorded_http import Exchange

BLANK = " \t\r\n"
_decode = json.JSONDecoder(strict=False).raw_decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A JSON-RPC message."""

    at: float
    to_server: bool
    exchange: Exchange
    text: str
    said: dict[str, Any] = field(repr=False)

    @property
    def kind(self) -> str:
        """What JSON-RPC calls it."""
        if "method" in self.said:
            return "request" if "id" in self.said else "notification"
        return "response"

    @property
    def size(self) -> int:
        """Bytes of its text."""
        return size_of(self.text)


@dataclass(frozen=True, slots=True)
class Asked:
    """An exchange's request is complete."""

    at: float
    exchange: Exchange


@dataclass(frozen=True, slots=True)
class Answered:
    """The head of an exchange's answer is there."""

    at: float
    exchange: Exchange


@dataclass(frozen=True, slots=True)
class Told:
    """An event or body of an answer is there, that is no JSON-RPC message."""

    at: float
    exchange: Exchange
    data: bytes
    event: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An exchange is over."""

    at: float
    exchange: Exchange


Happening = Message | Asked | Answered | Told | Ended


def parse(text: str) -> Any:
    """Read a JSON text."""
    return json.loads(text)


def size_of(text: str) -> int:
    """Return the bytes of a text."""
    return len(text.encode())


def split_object(text: str) -> dict[str, str]:
    """Return the JSON texts of an object's members, as they stand there."""
    members: dict[str, str] = {}
    position = _skip(text, _skip(text, 0) + 1)
    while text[position] != "}":
        name, position = _decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
        _, end = _decode(text, position)
        members[name] = text[position:end]
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return members


def split_array(text: str) -> list[str]:
    """Return the JSON texts of an array's elements, as they stand there."""
    elements: list[str] = []
    position = _skip(text, _skip(text, 0) + 1)
    while text[position] != "]":
        _, end = _decode(text, position)
        elements.append(text[position:end])
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return elements


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in BLANK:
        position += 1
    return position


def read_happenings(exchanges: Iterable[Exchange], largest: int) -> list[Happening]:
    """Return all that happened, in its order; texts above `largest` bytes are no messages."""
    happened = [event for exchange in exchanges for event in _list(exchange, largest)]
    return sorted(happened, key=lambda event: event.at)


def _list(exchange: Exchange, largest: int) -> Iterator[Happening]:
    yield Asked(exchange.asked, exchange)
    if exchange.body and len(exchange.body) <= largest:
        yield from _read(exchange, exchange.asked, exchange.body, to_server=True)
    if exchange.status:
        yield Answered(exchange.answered, exchange)
    for text in exchange.texts:
        messages: list[Happening] = []
        # A body that answers a GET or a DELETE is no message (2025-11-25 basic/transports): what
        # comes there comes as events.
        may_hold = exchange.method == "POST" or text.in_stream
        if len(text.data) <= largest and text.event == "message" and may_hold:
            messages = list(_read(exchange, text.at, text.data, to_server=False))
        yield from messages or [Told(text.at, exchange, text.data, text.event)]
    if exchange.ended is not None:
        yield Ended(exchange.ended, exchange)


def _read(exchange: Exchange, at: float, data: bytes, *, to_server: bool) -> Iterator[Message]:
    try:
        said = json.loads(data)
    except ValueError:
        return
    if isinstance(said, dict) and said.get("jsonrpc") == "2.0":
        yield Message(at=at, to_server=to_server, exchange=exchange, text=data.decode(), said=said)
