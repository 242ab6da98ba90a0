"""How a cell of the fault matrix is played: what the client sends and sees, what the upstream does.

Knows in which order; does not know what has to follow (`fault_table`).
"""

from contextlib import suppress
from dataclasses import dataclass

from tests.support.fault_messages import (
    FAULTY,
    GOOD,
    WARM_UP,
    Request,
    make_payload,
    make_request,
    make_result,
)
from tests.support.fault_places import Place
from tests.support.fault_product import Product
from tests.support.fault_scripts import answer_then, pause
from tests.support.fault_table import Cell, Connection, Stage
from tests.support.raw_client import RawClient
from tests.support.raw_http import RawHead
from tests.support.scripted_upstream import End, Moment

METHODS = {Request.STREAM: "GET", Request.DELETE: "DELETE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the client saw of one answer."""

    status: int
    content_type: bytes
    body: bytes
    cut: bool
    """It has no proper end."""
    keeps: bool
    """The connection goes on."""


async def warm_up(cell: Cell, place: Place, product: Product, client: RawClient) -> None:
    """Leave a connection to the upstream behind, spoilt where the fault is of that kind."""
    if cell.connection is Connection.NEW:
        return
    place.upstream.answer(make_result(WARM_UP))
    await client.send(*make_request(Request.CALL, WARM_UP, product.host))
    assert (await client.read_response()).status == 200
    if cell.fault.stage is Stage.IDLE:
        side = place.upstream.connections[-1]
        for step in cell.fault.script(make_payload(cell.request, cell.answer)):
            if isinstance(step, End):
                side.end(step)
            elif isinstance(step, bytes):
                await side.write(step)
        await pause()


async def play(cell: Cell, place: Place, product: Product, client: RawClient) -> Seen:
    """Send the cell's request and let its fault happen."""
    stage, upstream = cell.fault.stage, place.upstream
    payload = make_payload(cell.request, cell.answer)
    if stage is Stage.IDLE:
        upstream.answer(*answer_then()(payload))
    elif stage is Stage.ACCEPT:
        upstream.answer(*cell.fault.script(payload), when=Moment.CONNECTED)
    elif stage is not Stage.CONNECT:
        early = cell.request is Request.UPLOAD
        upstream.answer(*cell.fault.script(payload), when=Moment.HEAD if early else Moment.WHOLE)
        if cell.fault.repeatable and cell.request is Request.STREAM:
            upstream.answer(*answer_then()(payload))  # to the repeated one
    first, *rest = make_request(cell.request, FAULTY, product.host)
    await client.send(first)
    if rest and stage not in (Stage.BODY, Stage.ANSWER):
        await pause()  # so that the failure is known before the request is whole
        await client.send(*rest)
        rest = []
    seen = await _read(client)
    if rest:
        with suppress(OSError):  # nobody needs to take it
            await client.send(*rest)
        await client.read_eof()
    return seen


async def call_well(place: Place, product: Product, client: RawClient) -> bytes:
    """Make a call that nothing happens to; give what it brings."""
    place.upstream._scripts.clear()
    place.upstream.answer(make_result(GOOD))
    await client.send(*make_request(Request.CALL, GOOD, product.host))
    response = await client.read_response()
    assert response.status == 200, response
    return response.body


async def _read(client: RawClient) -> Seen:
    head = await client.read_head()
    while head.start.split(b" ")[1].startswith(b"1"):
        head = await client.read_head()
    body, cut = await _read_body(client, head)
    keeps = not cut and head.values(b"connection") != [b"close"]
    return Seen(
        status=int(head.start.split(b" ")[1]),
        content_type=b"".join(head.values(b"content-type")),
        body=body,
        cut=cut,
        keeps=keeps,
    )


async def _read_body(client: RawClient, head: RawHead) -> tuple[bytes, bool]:
    """Read a body as far as it goes, and say whether it ended where it should not."""
    if head.values(b"transfer-encoding") == [b"chunked"]:
        return await _read_chunks(client)
    lengths = head.values(b"content-length")
    body = b""
    length = int(lengths[0]) if lengths else 0
    while len(body) < length:
        piece = await client.reader.read(length - len(body))
        if not piece:
            return body, True
        body += piece
    return body, False


async def _read_chunks(client: RawClient) -> tuple[bytes, bool]:
    body = b""
    while True:
        line = await client.reader.readline()
        if not line:
            return body, True
        size = int(line, 16)
        data = await client.read(size + 2)
        if not size:
            return body, False
        body += data[:-2]
