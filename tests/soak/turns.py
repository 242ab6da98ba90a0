"""What the server of a stormy soak does with a call, one turn for each tool.

Knows what goes over the wire and when; does not know what anybody makes of it (`kinds`).
"""

import asyncio
from typing import Final

from tests.soak.storm import Link, Turn
from tests.soak.weather import (
    HTML,
    Answer,
    Call,
    Wording,
    compose,
    draw_wording,
    frame,
    write_error,
    write_event,
    write_message,
    write_result,
)

LONG: Final = 600_000
"""Characters of an answer that does not fit into the sockets' buffers."""
LATENCY: Final = 0.4
RACE_SECONDS: Final = 0.004
HINTS: Final = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
STATUSES: Final = (
    "500 Internal Server Error",
    "503 Service Unavailable",
    "429 Too Many Requests",
    "403 Forbidden",
)
_CHUNKED: Final = Wording(events=True, coding="", framing="chunked", last=False)


async def think(call: Call) -> None:
    """Take some time, mostly little."""
    await asyncio.sleep(call.chance.random() ** 3 * LATENCY)


def draw_answer(call: Call, *, close: bool = True, **more: object) -> Answer:
    """Write a result in whatever way."""
    wording = draw_wording(call.chance, close=close)
    result = write_result(call, call.draw_text(30_000), **more)
    return compose(wording, [result], call.chance)


async def answer(link: Link, call: Call) -> bool:
    await think(call)
    if call.chance.random() < 0.05:
        await link.send(HINTS)
    return await link.reply(draw_answer(call))


async def fail(link: Link, call: Call) -> bool:
    await think(call)
    return await link.reply(draw_answer(call, isError=True))


async def deny(link: Link, call: Call) -> bool:
    await think(call)
    status = call.chance.choice(("200 OK", "400 Bad Request"))
    wording = draw_wording(call.chance, events=False)
    error = write_error(call, call.chance.choice((-32602, -32603, -31999)))
    return await link.reply(compose(wording, [error], call.chance, status=status))


async def break_down(link: Link, call: Call) -> bool:
    await think(call)
    return await link.reply(_draw_page(call, call.chance.choice(STATUSES)))


async def show_page(link: Link, call: Call) -> bool:
    return await link.reply(_draw_page(call, "200 OK"))


async def say_nonsense(link: Link, call: Call) -> bool:
    """Answer with what is no JSON."""
    wording = draw_wording(call.chance, events=False)
    text = call.draw_text(3000).encode()
    return await link.reply(compose(wording, [b"{%b" % text], call.chance))


async def say_nothing(link: Link, call: Call) -> bool:
    """Answer with a JSON text that answers nothing."""
    return await link.reply(compose(draw_wording(call.chance, events=False), [b"{}"], call.chance))


async def encode_oddly(link: Link, call: Call) -> bool:
    """Answer in a content coding that nobody knows."""
    page = draw_wording(call.chance, events=False)
    lines = [b"Content-Type: application/json", b"Content-Encoding: x-rain"]
    return await link.reply(frame(page, [write_result(call)], call.chance, lines=lines))


async def drip(link: Link, call: Call) -> bool:
    """Send an answer in many small pieces."""
    made = draw_answer(call)
    rest = made.wire
    while rest:
        size = call.chance.randint(1, max(1, len(made.wire) // 6))
        await link.send(rest[:size])
        rest = rest[size:]
        await asyncio.sleep(call.chance.random() * 0.05)
    return not made.last


async def report(link: Link, call: Call) -> bool:
    """Send word of the progress before the answer."""
    wording = draw_wording(call.chance, events=True)
    steps = [
        write_message(method="notifications/progress", params={"progressToken": 1, "progress": n})
        for n in range(call.chance.randint(1, 5))
    ]
    return await link.reply(compose(wording, [*steps, write_result(call)], call.chance))


async def repeat(link: Link, call: Call) -> bool:
    """Answer twice."""
    wording = draw_wording(call.chance, events=True)
    return await link.reply(compose(wording, [write_result(call)] * 2, call.chance))


async def forget(link: Link, call: Call) -> bool:
    """End the event stream without an answer."""
    wording = draw_wording(call.chance, events=True)
    note = write_message(method="notifications/message", params={"level": "info"})
    return await link.reply(compose(wording, [note], call.chance))


async def close_unanswered(link: Link, call: Call) -> bool:
    await think(call)
    link.end(reset=call.chance.random() < 0.5)
    return False


async def babble(link: Link, call: Call) -> bool:
    """Answer with what is no HTTP, or is HTTP that two would read differently."""
    odd = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"
    texts = (b"it rains\r\n\r\n", odd, b"HTTP/1.1 2x0 OK\r\n\r\n", call.chance.randbytes(200))
    await link.send(call.chance.choice(texts))
    return await link.wait_for_end(call)


async def cut_in_head(link: Link, call: Call) -> bool:
    made = draw_answer(call, close=False)
    return await _cut(link, call, made, call.chance.randint(1, len(made.head) - 1))


async def cut_in_body(link: Link, call: Call) -> bool:
    made = draw_answer(call, close=False)
    return await _cut(link, call, made, call.chance.randint(len(made.head), len(made.wire) - 1))


async def cut_after_event(link: Link, call: Call) -> bool:
    """Send the answer's event, and cut before the end of the stream."""
    made = compose(_CHUNKED, [write_result(call, call.draw_text(3000))], call.chance)
    return await _cut(link, call, made, len(made.wire) - call.chance.randint(1, 5))


async def be_late(link: Link, call: Call) -> bool:
    """Answer nothing within the proxy's patience."""
    return await link.wait_for_end(call)


async def hold(link: Link, call: Call) -> bool:
    """Answer nothing as long as somebody waits."""
    return await link.wait_for_end(call)


async def hold_in_answer(link: Link, call: Call) -> bool:
    """Send a part of an answer, and no more as long as somebody waits."""
    made = draw_answer(call, close=False)
    # Neither all of the body nor the whole of an event that is in it.
    end = len(made.head) + call.chance.randint(0, len(made.body) // 3)
    await link.send(made.wire[:end])
    return await link.wait_for_end(call)


async def answer_at_once(link: Link, call: Call) -> bool:
    """Answer in one piece, about when the client leaves that is told now that its call arrived."""
    await asyncio.sleep(call.chance.random() * RACE_SECONDS)
    wording = Wording(events=False, coding="", framing="length", last=False)
    return await link.reply(compose(wording, [write_result(call)], call.chance))


async def answer_at_length(link: Link, call: Call) -> bool:
    wording = draw_wording(call.chance)
    text = call.draw_text(10) + "z" * 100 + "y" * LONG
    return await link.reply(compose(wording, [write_result(call, text)], call.chance))


async def answer_early(link: Link, call: Call) -> bool:
    """Refuse a request that is not whole."""
    page = Wording(events=False, coding="", framing="length", last=True)
    lines = [b"Content-Type: " + HTML]
    await link.send(frame(page, [b"big"], call.chance, status="413 Too Large", lines=lines).wire)
    # Not at once: that would be a reset, for what is still to come.
    await link.drain()
    return False


async def obey(link: Link, call: Call) -> bool:
    """Begin a stream, and end it once the call is cancelled: with its answer, an error or none."""
    made = compose(_CHUNKED, [], call.chance)
    await link.send(made.head)
    await asyncio.wait_for(call.go_on.wait(), 10.0)
    ends = (b"", write_event(write_result(call)), write_event(write_error(call, -32800)))
    end = call.chance.choice(ends)
    await link.send((b"%x\r\n%b\r\n" % (len(end), end) if end else b"") + b"0\r\n\r\n")
    return True


async def postpone(link: Link, call: Call) -> bool:
    """End the stream before the answer, for which its client may come back."""
    data = write_event(b"", call.nonce)
    made = compose(_CHUNKED, [], call.chance)
    await link.send(made.head + b"%x\r\n%b\r\n" % (len(data), data))
    if call.chance.random() < 0.3:
        link.end(reset=False)
        return False
    await link.send(b"0\r\n\r\n")
    return True


async def tell_news(link: Link, call: Call) -> bool:
    """Send notifications until the client leaves, or the answer."""
    made = compose(_CHUNKED, [], call.chance)
    await link.send(made.head)
    events = call.chance.randint(1, 4)
    for step in range(events):
        method = f"notifications/{('subscriptions/acknowledged', 'message')[step > 0]}"
        data = write_event(write_message(method=method, params={"level": "info"}))
        await link.send(b"%x\r\n%b\r\n" % (len(data), data))
        await asyncio.sleep(call.chance.random() * 0.05)
    if call.chance.random() < 0.5:
        # What was sent has to be read before the client leaves.
        call.events = events
        call.go_on.set()
        return await link.wait_for_end(call)
    data = write_event(write_result(call))
    await link.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
    return True


def _draw_page(call: Call, status: str) -> Answer:
    page = draw_wording(call.chance, events=False)
    lines = [b"Content-Type: " + HTML]
    return frame(page, [call.draw_text(500).encode()], call.chance, status=status, lines=lines)


async def _cut(link: Link, call: Call, made: Answer, end: int) -> bool:
    """Send a part of an answer, and break off by FIN or RST, at once or a moment later."""
    await link.send(made.wire[:end])
    if call.chance.random() < 0.5:
        await asyncio.sleep(call.chance.random() * 0.1)
    link.end(reset=call.chance.random() < 0.5)
    return False


TURNS: Final[dict[str, Turn]] = {
    "answer": answer,
    "drip": drip,
    "report": report,
    "cut_after_event": cut_after_event,
    "tool_error": fail,
    "rpc_error": deny,
    "http_error": break_down,
    "page": show_page,
    "nonsense": say_nonsense,
    "nothing": say_nothing,
    "odd_coding": encode_oddly,
    "second_answer": repeat,
    "forgotten": forget,
    "closed": close_unanswered,
    "garbage": babble,
    "cut_in_head": cut_in_head,
    "cut_in_body": cut_in_body,
    "late": be_late,
    "slow_reader": answer_at_length,
    "slow_head": answer,
    "pipelined": answer,
    "pipelined_left": hold,
    "left": hold,
    "left_half": hold,
    "left_in_answer": hold_in_answer,
    "left_at_answer": answer_at_once,
    "upload_left": answer,
    "upload_stuck": answer,
    "early_answer": answer_early,
    "cancelled": obey,
    "resumed": postpone,
    "abandoned": postpone,
    "listening": tell_news,
}
