"""What the readers see of what was forwarded, against what was: the same, or a known refusal.

Knows where a reader is stricter than RFC 9110 and 9112 and therefore refuses what the proxy passes.
That is harmless: a refusal is an answer to this very request, and nothing behind it is read.
Whatever else differs is a fault, of the proxy or of this list.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from tests.differential.mutate import LAST, mutate
from tests.differential.read import Reading, read_with_h11, read_with_httptools
from tests.differential.record import Bench, Passage, Seen, Wire
from tests.differential.servers import Server

_BENCHES = 12
_END = Seen(b"GET", b"/last", ((b"host", b"a"), (b"connection", b"close")), b"")
assert LAST.startswith(b"GET /last HTTP/1.1\r\n")

# llhttp's methods, of which the mutated ones are these; any other token is a method too (RFC 9110
# section 9.1), and passes. PRI is among them only to recognise HTTP/2.
_METHODS = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"M-SEARCH",
     b"SOURCE"}
)  # fmt: skip


def _has_unknown_method(request: Seen) -> bool:
    return request.method not in _METHODS


def _has_odd_target(request: Seen) -> bool:
    # RFC 9112 section 3.2 allows ASCII only; the proxy passes what it is given.
    return not request.target.isascii()


@dataclass(slots=True)
class Tally:
    """Figures of a run."""

    sent: int = 0
    refused: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wires: int = 0
    requests: int = 0
    """That arrived whole."""
    given_up: int = 0
    """That arrived in part, and whose connection was cut."""
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By reader and reason, of requests that passed."""
    differences: list[str] = field(default_factory=list)


class Comparison:
    """One run."""

    def __init__(self, servers: Mapping[str, Server]) -> None:
        self.tally = Tally()
        self._servers = servers

    async def run(self, seeds: Iterable[int]) -> Tally:
        """Put every seed to a proxy, and what passes to every reader."""
        waiting = iter(seeds)
        async with asyncio.TaskGroup() as group:
            for _ in range(_BENCHES):
                group.create_task(self._work(waiting))
        return self.tally

    async def _work(self, seeds: Iterable[int]) -> None:
        async with Bench.running() as bench:
            for seed in seeds:
                try:
                    passage = await bench.put(mutate(seed))
                except BaseException as fault:
                    fault.add_note(f"with the seed {seed}")
                    raise
                self._count(passage)
                for wire in passage.wires:
                    await self._compare(seed, wire)

    def _count(self, passage: Passage) -> None:
        tally = self.tally
        tally.sent += 1
        tally.refused += passage.refusal > 0
        tally.statuses[passage.refusal] += passage.refusal > 0
        tally.requests += passage.forwarded
        tally.wires += len(passage.wires)
        tally.given_up += sum(not wire.whole for wire in passage.wires)

    async def _compare(self, seed: int, wire: Wire) -> None:
        self._judge(seed, "h11", wire, read_with_h11(wire.data))
        self._judge(seed, "httptools", wire, read_with_httptools(wire.data))
        await asyncio.gather(
            *[self._ask(seed, name, wire, server.read) for name, server in self._servers.items()]
        )

    async def _ask(
        self, seed: int, name: str, wire: Wire, read: Callable[[Wire], Awaitable[Reading]]
    ) -> None:
        seen, reason = await read(wire)
        if wire.whole and not reason and (not seen or seen.pop() != _END):
            self.tally.differences.append(f"{name}, seed {seed}: what follows was not seen")
        self._judge(seed, name, wire, (seen, reason))

    def _judge(self, seed: int, name: str, wire: Wire, reading: Reading) -> None:
        seen, reason = reading
        expected = list(wire.requests)
        if name.startswith("uvicorn"):
            expected = [_as_asgi(request, fragment="h11" in name) for request in expected]
        if name == "uvicorn (httptools)":
            pairs = zip(seen, [*expected, *[_END] * len(seen)], strict=False)
            seen = [_as_h11_would(one, of) for one, of in pairs]
        if seen == expected and not (reason and wire.whole):
            return
        causes = {_explain(name, unseen) for unseen in wire.requests[len(seen) :]}
        cause = " or ".join(sorted(causes - {""}))
        if seen == expected[: len(seen)] and reason and cause:
            # A server may drop its answers to what stands before the request that it refuses.
            self.tally.refusals[name, cause] += 1
            return
        self.tally.differences.append(f"{name}, seed {seed}: {seen} ({reason}) for {wire}")


def _explain(name: str, request: Seen) -> str:
    """Return why a reader refuses a request; empty where it should not."""
    if "h11" not in name and _has_unknown_method(request):
        return "a method that it does not know"
    if _has_odd_target(request):
        return "a target that is no ASCII"
    return ""


def _as_asgi(request: Seen, *, fragment: bool) -> Seen:
    """Return what ASGI can say: no query where it is empty, and a fragment only with h11."""
    target = request.target if fragment else request.target.partition(b"#")[0]
    path, _, query = target.partition(b"?")
    return replace(request, target=path + b"?" + query if query else path)


def _as_h11_would(seen: Seen, sent: Seen) -> Seen:
    """Return what uvicorn saw, without two oddities that it has on httptools.

    White space behind a value stays, which RFC 9110 section 5.5 does not count; harmless, as only
    the application reads it. Trailers become fields, which section 6.5.1 forbids; harmless where
    `record` made sure that none is there that means something in a head.
    """
    fields = tuple((name, value.strip(b" \t")) for name, value in seen.fields)
    if sent.trailers and fields[-len(sent.trailers) :] == sent.trailers:
        fields = fields[: -len(sent.trailers)]
    return replace(seen, fields=fields)
