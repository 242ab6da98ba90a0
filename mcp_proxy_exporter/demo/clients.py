"""Scripted MCP clients of both eras, as lively as a few agents at work.

Knows how each era opens, calls, gives up and leaves; does not know what to call (`script`), nor
whether a proxy stands between it and the server. Answers are read to their end and not judged:
what they were is what the proxy's metrics are for.
"""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

import aiohttp
import msgspec

from mcp_proxy_exporter.demo import modern, rpc
from mcp_proxy_exporter.demo.script import Act, write

MAX_NAPS: Final = 4
"""Naps that one client lets run at once; it waits for nothing else."""
RETRY_PAUSE: Final = 0.25
"""Seconds before a client whose connection failed tries again."""
CALL_TIMEOUT: Final = 30.0
"""Seconds; the longest nap of the script takes 2.5."""
LEAVE_TIMEOUT: Final = 0.2
"""Seconds for a good-bye: stopping must feel immediate."""

_ACCEPTED: Final = {"Accept": "application/json, text/event-stream"}
_TROUBLE: Final = (aiohttp.ClientError, OSError)
"""What a connection does when the other side stops; `TimeoutError` is an `OSError`."""


class _Refused(aiohttp.ClientError):
    """The other side answered with an HTTP error: begin anew, as after a lost session."""


class _Client(ABC):
    """One client: the script and its pace are common, the era's manners are not."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, name: str, acts: Iterator[Act]
    ) -> None:
        self._http = http
        self._url = url
        self._info = {"name": name, "version": "1.0"}
        self._acts = acts
        self._ids = itertools.count()

    async def run(self) -> None:
        """Play until cancelled, whatever the network does."""
        try:
            while True:
                with suppress(*_TROUBLE):
                    await self._open()
                    await self._play()
                await asyncio.sleep(RETRY_PAUSE)
        finally:
            with suppress(*_TROUBLE):
                async with asyncio.timeout(LEAVE_TIMEOUT):
                    await self._leave()

    async def _play(self) -> None:
        naps: set[asyncio.Task[None]] = set()
        try:
            while True:
                act = next(self._acts)
                if act.tool != "nap":
                    await self._call(next(self._ids), act)
                elif len(naps) < MAX_NAPS:
                    nap = asyncio.create_task(self._nap(act))
                    naps.add(nap)
                    nap.add_done_callback(naps.discard)
                await asyncio.sleep(act.pause)
        finally:
            for nap in naps:
                nap.cancel()
            await asyncio.gather(*naps, return_exceptions=True)

    async def _nap(self, act: Act) -> None:
        with suppress(*_TROUBLE):
            if act.patience is None:
                await self._call(next(self._ids), act)
            else:
                await self._call_and_give_up(next(self._ids), act, act.patience)

    async def _call(self, request_id: int, act: Act) -> None:
        params: dict[str, object] = {"name": act.tool, "arguments": act.arguments}
        if act.tool == "nap":
            params["_meta"] = {"progressToken": request_id}
        await self._request(request_id, "tools/call", params)

    async def _post(self, message: rpc.Message, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Send one message, read the answer to its end and return the answer's headers."""
        body = msgspec.json.encode(message)
        headers = {**_ACCEPTED, "Content-Type": "application/json", **headers}
        async with self._http.post(self._url, data=body, headers=headers) as answer:
            await answer.read()
            if answer.status >= 400:  # noqa: PLR2004 - client and server errors (RFC 9110)
                raise _Refused(f"HTTP status {answer.status}")
            return answer.headers

    @abstractmethod
    async def _open(self) -> None:
        """Do what comes before the first call."""

    @abstractmethod
    async def _request(
        self, request_id: int, method: str, params: Mapping[str, object]
    ) -> Mapping[str, str]:
        """Send a request, wait for its answer and return the answer's headers."""

    @abstractmethod
    async def _call_and_give_up(self, request_id: int, act: Act, patience: float) -> None:
        """Call, and say after ``patience`` seconds that the answer is not wanted any more."""

    @abstractmethod
    async def _leave(self) -> None:
        """Say good-bye."""


class LegacyClient(_Client):
    """Speaks a revision with a handshake and a session: 2025-03-26 to 2025-11-25."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        name: str,
        acts: Iterator[Act],
        version: str = rpc.LEGACY_VERSIONS[0],
    ) -> None:
        super().__init__(http, url, name, acts)
        self._version = version
        self._headers: dict[str, str] = {}

    async def _open(self) -> None:
        self._headers = {}
        greeting = {
            "protocolVersion": self._version,
            "capabilities": {},
            "clientInfo": self._info,
        }
        answer = await self._request(next(self._ids), "initialize", greeting)
        self._headers = {rpc.VERSION_HEADER: self._version}
        if rpc.SESSION_HEADER in answer:
            self._headers[rpc.SESSION_HEADER] = answer[rpc.SESSION_HEADER]
        await self._post(rpc.build_notification("notifications/initialized"), self._headers)
        await self._request(next(self._ids), "tools/list", {})

    async def _request(
        self, request_id: int, method: str, params: Mapping[str, object]
    ) -> Mapping[str, str]:
        return await self._post(rpc.build_request(request_id, method, params), self._headers)

    async def _call_and_give_up(self, request_id: int, act: Act, patience: float) -> None:
        # A disconnect would not mean it here: "SHOULD explicitly send a CancelledNotification"
        # (MCP 2025-11-25, basic/transports, Sending Messages 6).
        cancelling = asyncio.create_task(self._cancel_after(patience, request_id))
        try:
            await self._call(request_id, act)
        finally:
            cancelling.cancel()

    async def _cancel_after(self, patience: float, request_id: int) -> None:
        await asyncio.sleep(patience)
        params = {"requestId": request_id, "reason": "the cat was called for dinner"}
        with suppress(*_TROUBLE):
            await self._post(
                rpc.build_notification("notifications/cancelled", params), self._headers
            )

    async def _leave(self) -> None:
        async with self._http.delete(self._url, headers=self._headers) as answer:
            await answer.read()


class ModernClient(_Client):
    """Speaks 2026-07-28: no session, every request says who asks."""

    async def _open(self) -> None:
        await self._request(next(self._ids), "server/discover", {})
        await self._request(next(self._ids), "tools/list", {})

    async def _request(
        self, request_id: int, method: str, params: Mapping[str, object]
    ) -> Mapping[str, str]:
        meta = params.get("_meta")
        envelope = {
            **(meta if isinstance(meta, dict) else {}),
            rpc.META_VERSION: rpc.MODERN_VERSION,
            rpc.META_CLIENT: self._info,
            rpc.META_CAPABILITIES: {},
        }
        headers = {rpc.VERSION_HEADER: rpc.MODERN_VERSION, rpc.METHOD_HEADER: method}
        name = params.get("name")
        if isinstance(name, str):
            headers[rpc.NAME_HEADER] = modern.encode_header(name)
        message = rpc.build_request(request_id, method, {**params, "_meta": envelope})
        return await self._post(message, headers)

    async def _call_and_give_up(self, request_id: int, act: Act, patience: float) -> None:
        # Hanging up is the cancellation (MCP 2026-07-28, streamable-http, Cancellation).
        async with asyncio.timeout(patience):
            await self._call(request_id, act)

    async def _leave(self) -> None:
        """Say nothing: nobody remembers this client."""


async def run_clients(url: str, stop: asyncio.Event) -> None:
    """Let two clients of each era call the endpoint ``url`` until ``stop`` is set.

    Returns within `LEAVE_TIMEOUT` and a little of ``stop`` or of a cancellation. Connections that
    fail are opened again and never raise.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT),
        headers={"User-Agent": "mcp-proxy-exporter-demo"},
    ) as http:
        clients = (
            LegacyClient(http, url, "tabby", write(1)),
            LegacyClient(http, url, "tom", write(2), rpc.LEGACY_VERSIONS[-1]),
            ModernClient(http, url, "lynx", write(3)),
            ModernClient(http, url, "ocelot", write(4)),
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.run()) for client in clients]
            await stop.wait()
            for task in tasks:
                task.cancel()
