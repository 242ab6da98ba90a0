"""Clients of a stormy soak whose requests are not whole, or come in parts, or are no HTTP.

Knows what such a client does and when; how that is written and read is in `guests`.
"""

import asyncio

from tests.soak.guests import ARRIVAL_SECONDS, Guest
from tests.soak.sight import Sight, look
from tests.soak.weather import Call
from tests.support.raw_client import RawClient


async def abort_upload(guest: Guest, call: Call) -> str:
    """Leave when a part of the request has come to the server: no call was made."""
    client, rest = await _send_part(guest, call)
    if not call.arrived.is_set():
        return await _complete(guest, client, call, rest)
    if call.chance.random() < 0.5:
        client.reset()
    else:
        await client.close()
    await guest.await_departure(call)
    guest.chronicle.exchanges["POST", "0"] += 1
    return ""


async def stall_upload(guest: Guest, call: Call) -> str:
    """Send a part of the request and no more."""
    client, _ = await _send_part(guest, call)
    sight = await look(client, Sight())
    await client.close()
    guest.chronicle.note_exchange("POST", sight)
    if sight.own != "body_timeout":
        # Its limit ran out all the same, though what is told is what was first.
        guest.chronicle.limits["client_body",] += 1
        if not guest.is_unserved(call, sight):
            guest.sky.blame(f"{call.tool}: {sight.status} {sight.own}")
    return ""


async def be_refused_early(guest: Guest, call: Call) -> str:
    """Send the rest of the request after its answer came."""
    client, rest = await _send_part(guest, call)
    if not call.arrived.is_set():
        return await _complete(guest, client, call, rest)
    sight = await look(client, Sight())
    await client.send(rest)
    await client.close()
    return guest.judge(call, sight)


async def _send_part(guest: Guest, call: Call) -> tuple[RawClient, bytes]:
    """Send a part of a request, with its nonce; wait until it has come to the server."""
    call.started = asyncio.get_running_loop().time()
    client = await guest.take(call)
    data = guest.write(call, filling="x" * 300 + call.draw_text(30_000))
    size = len(data) - call.chance.randint(1, 250)
    await client.send(data[:size])
    arriving = asyncio.create_task(call.arrived.wait())
    await asyncio.wait({arriving}, timeout=ARRIVAL_SECONDS)
    arriving.cancel()
    return client, data[size:]


async def _complete(guest: Guest, client: RawClient, call: Call, rest: bytes) -> str:
    """Send what is missing of a request that does not come to its server, to hear why."""
    await client.send(rest)
    return await guest.finish(client, call, await look(client, Sight()))


async def stall_head(guest: Guest, call: Call) -> str:
    """Send a part of a head and no more."""
    client = await guest.take(call)
    await client.send(guest.write(call)[: call.chance.randint(5, 60)])
    guest.chronicle.note_exchange("_other", await look(client, Sight()))
    await client.close()
    return ""


async def leave_head(guest: Guest, call: Call) -> str:
    """Send a part of a head and leave: nothing was asked."""
    client = await guest.take(call)
    await client.send(guest.write(call)[: call.chance.randint(1, 60)])
    await asyncio.sleep(call.chance.random() * 0.1)
    client.reset()
    return ""


async def send_nonsense(guest: Guest, call: Call) -> str:
    """Send what is no HTTP, or is HTTP that two would read differently."""
    client = await guest.take(call)
    head = guest.write_head("POST", None, {"Content-Length": "2", "Transfer-Encoding": "chunked"})
    await client.send(call.chance.choice((b"rain\r\n\r\n", head)))
    sight = await look(client, Sight())
    if sight.status != 400:
        guest.sky.blame(f"nonsense was answered {sight.status}")
    guest.chronicle.note_exchange("_other", sight)
    await client.close()
    return ""
