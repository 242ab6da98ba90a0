"""httplint on responses as the upstream gives them and as they come through the proxy.

No fault may be noted that the upstream's own response does not have, and none at all in what the
proxy answers itself. Knows what is compared; does not know what httplint looks at.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.product import run_proxy
from tests.support.raw_client import RawClient, RawResponse
from tests.support.scripted_upstream import CLOSE, ScriptedUpstream
from tests.torture.responses import BROKEN, PROVOKED, SAMPLES, Sample
from tests.torture.scratch import Done, install_httplint, run
from tests.torture.verdict import Verdict

NAME = "httplint"
LINTER = Path(__file__).with_name("linter.py")
# Milliseconds for each response.
SECONDS = 60.0

# Kinds of notes that only repeat what a status says of the request, which was meant to be bad.
OF_STATUS = "STATUS_"

Notes = Counter[tuple[str, str]]


def check() -> Iterator[Verdict]:
    """Get every response both ways, let all be noted, compare."""
    python = install_httplint()
    responses = asyncio.run(collect())
    done = run([python, "-P", LINTER], SECONDS, given=json.dumps(responses))
    if done.code != 0:
        yield Verdict(suite=NAME, figures="it broke off", problems=(done.tail,))
        return
    yield compare(responses, done)


async def collect() -> list[dict[str, Any]]:
    """Return each sample as it came directly and through the proxy, then the proxy's own."""
    responses = []
    async with ScriptedUpstream.running() as upstream:
        # It starts while this loop stands still; nobody asks the upstream before it runs.
        with run_proxy(upstream.url, name=NAME) as proxy:
            for name, sample in SAMPLES.items():
                for way, origin in (("directly", upstream.url), ("proxied", proxy.origin)):
                    upstream.answer(sample.raw, *([CLOSE] if sample.closes else []))
                    response = await ask(origin, sample)
                    responses.append(describe(name, way, sample.method, response))
            upstream.answer_always(BROKEN)
            for name, (status, request) in PROVOKED.items():
                async with RawClient.connecting(proxy.origin) as client:
                    await client.send(request)
                    response = await client.read_response()
                assert response.status == status, (name, response.head.raw)
                responses.append(describe(name, "own", b"GET", response))
    return responses


async def ask(origin: str, sample: Sample) -> RawResponse:
    """Send the request of a sample and read its response."""
    async with RawClient.connecting(origin) as client:
        length = b"Content-Length: 0\r\n" if sample.method == b"POST" else b""
        await client.send(
            sample.method + b" / HTTP/1.1\r\nHost: example.org\r\n" + length + b"\r\n"
        )
        return await client.read_response(sample.method)


def describe(name: str, way: str, method: bytes, response: RawResponse) -> dict[str, Any]:
    """Return a response as the linter reads it."""
    return {
        "name": name,
        "way": way,
        "method": method.decode(),
        "start": response.head.start.decode("latin-1"),
        "fields": [line.decode("latin-1") for line in response.head.lines],
        "body": response.body.decode("latin-1"),
        "trailers": [line.decode("latin-1") for line in response.trailers],
    }


def compare(responses: list[dict[str, Any]], done: Done) -> Verdict:
    """Say which faults are there that the upstream's own response does not have."""
    bad: dict[tuple[str, str], Notes] = {}
    for response, notes in zip(responses, json.loads(done.output), strict=True):
        bad[response["name"], response["way"]] = Counter(
            (kind, subject)
            for level, kind, subject, _ in notes
            if level == "BAD" and not (response["way"] == "own" and kind.startswith(OF_STATUS))
        )
    problems = [
        f"{name}: {kind} in {subject} ({way})"
        for (name, way), notes in bad.items()
        for kind, subject in notes - bad.get((name, "directly"), Counter())
        if way != "directly"
    ]
    direct, proxied, own = (
        sum(notes.total() for (_, found), notes in bad.items() if found == way)
        for way in ("directly", "proxied", "own")
    )
    return Verdict(
        suite=NAME,
        figures=(
            f"{len(SAMPLES)} responses with {direct} bad notes directly and {proxied} through the "
            f"proxy, {len(problems)} of them new; {len(PROVOKED)} of the proxy's own with {own}"
        ),
        problems=tuple(problems),
    )
