"""What a client sees of an answer, as it comes, whole or cut.

Knows HTTP's framing, gzip, event streams and the proxy's own answers; does not know what a call
was to become.
"""

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from tests.soak.weather import unpack
from tests.support.raw_client import RawClient
from tests.support.raw_http import RawHead

OWN: Final = re.compile(rb"mcp-proxy-exporter: .* \((\w+)\)\n\Z")


@dataclass(slots=True, eq=False)
class Sight:
    """One answer; status 0 as long as nothing of it came."""

    status: int = 0
    head: RawHead | None = None
    body: bytearray = field(default_factory=bytearray)
    cut: bool = False
    """It broke off."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Something of it is there."""

    @property
    def own(self) -> str:
        """The reason that the proxy gives; empty where the answer is the server's."""
        found = OWN.match(self.body)
        return "" if found is None else found[1].decode()

    @property
    def is_stray(self) -> bool:
        """Whether it is what a server says to an idle client."""
        return bool(self.values(b"x-stray"))

    @property
    def is_stream(self) -> bool:
        """Whether it is an event stream."""
        return self.values(b"content-type") == [b"text/event-stream"]

    @property
    def text(self) -> bytes:
        """The body, decompressed as far as it came."""
        data = bytes(self.body)
        return unpack(data) if self.values(b"content-encoding") == [b"gzip"] else data

    @property
    def keeps(self) -> bool:
        """Whether its connection may be used again."""
        kept = self.status > 0 and not self.cut
        return kept and self.values(b"connection") != [b"close"]

    def values(self, name: bytes) -> list[bytes]:
        """Give the values of a field of the head."""
        return [] if self.head is None else self.head.values(name)

    def count_events(self) -> int:
        """Count the whole events of a stream."""
        return self.text.count(b"\n\n") if self.is_stream else 0

    def read_messages(self) -> list[Any]:
        """Give the JSON-RPC messages that came whole."""
        if self.values(b"content-encoding") == [b"x-rain"]:
            return []
        if self.is_stream:
            events = self.text.split(b"\n\n")[:-1]
            texts = [event.rpartition(b"data: ")[2] for event in events]
        elif self.values(b"content-type") == [b"application/json"] and not self.cut:
            texts = [self.text]
        else:
            texts = []
        return [message for message in map(_parse, filter(None, texts)) if message]


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


async def look(client: RawClient, sight: Sight) -> Sight:
    """Read one answer into ``sight`` as it comes, to its end or to where it breaks off.

    Not by the client's own methods: a ``wait_for`` of Python 3.11 can lose a cancellation that
    comes with the data. Whoever waits for all of it has a limit.
    """
    reader = client.reader
    try:
        head = RawHead.parse(await reader.readuntil(b"\r\n\r\n"))
        while head.start.split(b" ")[1].startswith(b"1"):
            head = RawHead.parse(await reader.readuntil(b"\r\n\r\n"))
    except (asyncio.IncompleteReadError, ConnectionError):
        sight.cut = True
        return sight
    sight.head = head
    sight.status = int(head.start.split(b" ")[1])
    sight.news.set()
    try:
        await _read_body(reader, sight)
    except (asyncio.IncompleteReadError, ConnectionError):
        sight.cut = True
    return sight


async def _read_body(reader: asyncio.StreamReader, sight: Sight) -> None:
    if sight.values(b"transfer-encoding") == [b"chunked"]:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await _read(reader, sight, size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif length := sight.values(b"content-length"):
        await _read(reader, sight, int(length[0]))
    else:
        while data := await reader.read(65_536):
            sight.body += data


async def _read(reader: asyncio.StreamReader, sight: Sight, size: int) -> None:
    try:
        sight.body += await reader.readexactly(size)
    except asyncio.IncompleteReadError as end:
        sight.body += end.partial
        raise
