"""The manners of the clients of a stormy soak, one for each tool that is not simply called.

Knows what a client does and when; how that is written and read is in `guests`.
"""

import asyncio
import json
from typing import Final

from tests.soak.chronicle import GONE
from tests.soak.guests import UNSERVED, Guest, Manner, wait
from tests.soak.sight import Sight, look
from tests.soak.turns import RACE_SECONDS
from tests.soak.uploads import (
    abort_upload,
    be_refused_early,
    leave_head,
    send_nonsense,
    stall_head,
    stall_upload,
)
from tests.soak.weather import TOOL_CALL, Call
from tests.support.raw_client import RawClient


async def _send(guest: Guest, call: Call) -> RawClient:
    call.started = asyncio.get_running_loop().time()
    client = await guest.take(call)
    await client.send(guest.write(call))
    return client


async def read_slowly(guest: Guest, call: Call) -> str:
    """Take a long answer with pauses, through a narrow window."""
    call.started = asyncio.get_running_loop().time()
    client = await guest.take_narrow()
    await client.send(guest.write(call))
    sight = Sight()
    reading = asyncio.create_task(look(client, sight))
    for _ in range(4):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(call.chance.random() * 0.3)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
        if reading.done():
            break
    await reading
    await client.close()
    unserved = guest.is_unserved(call, sight)
    outcome = guest.judge(call, sight)
    return UNSERVED if unserved else outcome


async def send_slowly(guest: Guest, call: Call) -> str:
    """Send the request in small pieces."""
    client = await guest.take(call)
    data = guest.write(call)
    call.started = asyncio.get_running_loop().time()
    while data:
        size = call.chance.randint(1, 200)
        await client.send(data[:size])
        data = data[size:]
        await asyncio.sleep(call.chance.random() * 0.1)
    return await guest.finish(client, call, await look(client, Sight()))


async def leave(guest: Guest, call: Call) -> str:
    """Leave before anything of the answer is there."""
    client = await _send(guest, call)
    sight, reading = await guest.watch(client, call)
    if reading.done():
        return await guest.finish(client, call, sight)
    await asyncio.sleep(call.chance.random() * 0.1)
    await guest.leave(client, call, reading)
    guest.note_departure(call)
    return GONE


async def leave_half(guest: Guest, call: Call) -> str:
    """Close the sending half only: that counts as gone, and nothing more comes."""
    client = await _send(guest, call)
    sight, reading = await guest.watch(client, call)
    if reading.done():
        return await guest.finish(client, call, sight)
    client.half_close()
    await guest.await_departure(call)
    await reading
    if sight.status:
        guest.sky.blame(f"{call.tool}: an answer with status {sight.status}")
    await client.close()
    guest.note_departure(call)
    return GONE


async def leave_in_answer(guest: Guest, call: Call) -> str:
    """Leave in the middle of the answer."""
    client = await _send(guest, call)
    sight = Sight()
    reading = asyncio.create_task(look(client, sight))
    await asyncio.wait_for(sight.news.wait(), 20.0)
    if not call.deliveries:
        return await guest.finish(client, call, await reading)
    await asyncio.sleep(call.chance.random() * 0.05)
    await guest.leave(client, call, reading)
    guest.note_departure(call, "200")
    return GONE


async def leave_at_answer(guest: Guest, call: Call) -> str:
    """Leave in the moment in which the answer comes. Which one was first, the metrics say."""
    client = await _send(guest, call)
    sight, reading = await guest.watch(client, call)
    if not call.arrived.is_set():
        return await guest.finish(client, call, sight)
    reading.cancel()
    await asyncio.wait({reading})
    await asyncio.sleep(call.chance.random() * RACE_SECONDS)
    client.reset()
    guest.chronicle.note_request(call)
    guest.chronicle.raced += 1
    return "raced"


async def pipeline(guest: Guest, call: Call) -> str:
    """Send several calls at once, and have their answers in the same order."""
    calls = [
        call,
        *(_make_another(guest, call, call.tool) for _ in range(call.chance.randint(1, 4))),
    ]
    return await _pipe(guest, calls)


async def leave_pipeline(guest: Guest, call: Call) -> str:
    """Send three calls at once and leave in the second, which its server holds."""
    before, after = (_make_another(guest, call, "pipelined") for _ in range(2))
    client = await guest.take(call)
    now = asyncio.get_running_loop().time()
    before.started = call.started = after.started = now
    await client.send(b"".join(map(guest.write, (before, call, after))))
    sight = await look(client, Sight())
    guest.is_unserved(before, sight)
    guest.judge(before, sight)
    if not sight.keeps:
        guest.sky.blame("a pipeline was closed")
    sight, reading = await guest.watch(client, call)
    if reading.done():
        guest.is_unserved(call, sight)
        guest.judge(call, sight)
        await guest.finish(client, after, await look(client, Sight()))
        outcome = UNSERVED
    else:
        await guest.leave(client, call, reading)
        guest.note_departure(call)
        if after.deliveries:
            guest.sky.blame("a call was sent on before its turn")
        outcome = GONE
    for each in (before, after):
        del guest.sky.calls[each.nonce]
    return outcome


def _make_another(guest: Guest, call: Call, tool: str) -> Call:
    return guest.sky.make_call(TOOL_CALL, tool, call.visit)


async def _pipe(guest: Guest, calls: list[Call]) -> str:
    client = await guest.take(calls[0])
    calls[0].started = asyncio.get_running_loop().time()
    await client.send(b"".join(map(guest.write, calls)))
    outcome = ""
    sight = Sight()
    for call in calls:
        call.started = calls[0].started
        sight = await look(client, Sight())
        unserved = guest.is_unserved(call, sight)
        outcome = guest.judge(call, sight)
        if not unserved and outcome != "success":
            guest.sky.blame(f"a pipelined call ended as {outcome}")
        if not sight.keeps:
            guest.sky.blame(f"a pipeline was closed after {sight.status} {sight.own}")
            break
    await guest.give(client, sight)
    for call in calls[1:]:
        del guest.sky.calls[call.nonce]
    return "success"


async def cancel(guest: Guest, call: Call) -> str:
    """Cancel the call by a notification, and wait for what comes nevertheless."""
    client = await _send(guest, call)
    sight = Sight()
    reading = asyncio.create_task(look(client, sight))
    await asyncio.wait_for(sight.news.wait(), 20.0)
    if not call.deliveries:
        return await guest.finish(client, call, await reading)
    await notify(guest, call, "notifications/cancelled", requestId=call.number)
    call.go_on.set()
    await reading
    await guest.give(client, sight)
    return guest.judge(call, sight, cancelled=True)


async def notify(guest: Guest, call: Call, method: str, **params: object) -> None:
    """Send a notification; it is counted whoever hears it."""
    body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()
    guest.chronicle.notifications["to_server", method] += 1
    guest.chronicle.messages["to_server", "notification"] += 1
    client = await guest.take(call)
    await client.send(guest.write_post(body, call.visit, {}))
    sight = await look(client, Sight())
    guest.chronicle.note_exchange("POST", sight)
    if sight.status != 202:
        guest.chronicle.unserved[sight.own or "stray",] += 1
    await guest.give(client, sight)


async def resume(guest: Guest, call: Call) -> str:
    """Come back for the answer."""
    sight = await guest.ask(call)
    if guest.is_unserved(call, sight):
        guest.judge(call, sight)
        return UNSERVED
    _note_suspension(guest, call, sight)
    head = guest.write_head("GET", call.visit, {"Last-Event-ID": call.nonce})
    sight = await get(guest, call, head)
    guest.chronicle.note_end(call, "success")
    if call.nonce.encode() not in sight.body:
        guest.sky.blame(f"the answer to another call was resumed: {bytes(sight.body)!r}")
    return "success"


async def abandon(guest: Guest, call: Call) -> str:
    """Do not come back for the answer."""
    sight = await guest.ask(call)
    if guest.is_unserved(call, sight):
        guest.judge(call, sight)
        return UNSERVED
    _note_suspension(guest, call, sight)
    guest.chronicle.note_end(call, "abandoned")
    return "abandoned"


def _note_suspension(guest: Guest, call: Call, sight: Sight) -> None:
    guest.chronicle.note_request(call)
    guest.chronicle.note_exchange("POST", sight)
    if sight.count_events() != 1:
        guest.sky.blame(f"{call.tool}: {sight.status} {bytes(sight.body)!r}")


async def get(guest: Guest, call: Call, head: bytes) -> Sight:
    """Read an event stream to its end; ask again where the server was not there."""
    while True:
        client = await guest.take(call)
        await client.send(head)
        sight = await look(client, Sight())
        await guest.give(client, sight)
        guest.chronicle.note_exchange("GET", sight)
        if sight.status == 200:
            break
        guest.chronicle.unserved[sight.own or "stray",] += 1
        await asyncio.sleep(0.1)
    note_stream(guest, sight, "get")
    return sight


async def read_events(guest: Guest, sight: Sight, count: int) -> None:
    """Wait until so many events of a stream are there."""
    deadline = asyncio.get_running_loop().time() + 10.0
    while sight.count_events() < count:
        if asyncio.get_running_loop().time() > deadline:
            guest.sky.blame(f"{sight.count_events()} events came of {count}")
            return
        await asyncio.sleep(0.01)


def note_stream(guest: Guest, sight: Sight, kind: str) -> None:
    """Take a long stream that is over."""
    guest.chronicle.streams[kind,] += 1
    guest.chronicle.events[kind,] += sight.count_events()
    guest.chronicle.note_messages(sight)


async def listen(guest: Guest, call: Call) -> str:
    """Subscribe (2026-07-28), until the server ends it, or leave."""
    client = await _send(guest, call)
    sight = Sight()
    reading = asyncio.create_task(look(client, sight))
    allowed = asyncio.create_task(call.go_on.wait())
    await asyncio.wait({reading, allowed}, return_when=asyncio.FIRST_COMPLETED)
    allowed.cancel()
    if reading.done():
        if sight.is_stream:
            guest.chronicle.streams["listen",] += 1
            guest.chronicle.events["listen",] += sight.count_events()
        return await guest.finish(client, call, sight)
    await read_events(guest, sight, call.events)
    note_stream(guest, sight, "listen")
    await guest.leave(client, call, reading)
    guest.note_departure(call, "200")
    return GONE


MANNERS: Final[dict[str, Manner]] = {
    "slow_reader": read_slowly,
    "slow_head": send_slowly,
    "pipelined": pipeline,
    "pipelined_left": leave_pipeline,
    "left": leave,
    "left_half": leave_half,
    "left_in_answer": leave_in_answer,
    "left_at_answer": leave_at_answer,
    "upload_left": abort_upload,
    "upload_stuck": stall_upload,
    "early_answer": be_refused_early,
    "cancelled": cancel,
    "resumed": resume,
    "abandoned": abandon,
    "listening": listen,
    "head_stuck": stall_head,
    "head_left": leave_head,
    "no_request": send_nonsense,
}
"""Of those tools that are not simply waited for; the last three are called by nobody."""

DEFAULT: Final[Manner] = wait
