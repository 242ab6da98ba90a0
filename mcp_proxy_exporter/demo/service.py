"""The two ends of the demonstration as services of their own, each until it is cancelled.

Knows the cats and the clients; does not know the proxy, which runs somewhere else and starts when
it likes. Handles no signal: whoever runs these cancels them.
"""

import asyncio
from collections.abc import Callable

from mcp_proxy_exporter.demo.clients import run_clients
from mcp_proxy_exporter.demo.server import PATH, CatServer


async def serve_cats(host: str, port: int, *, announce: Callable[[str], object]) -> None:
    """Run the cats' server until this is cancelled; an empty ``host`` means all interfaces.

    Raises `OSError` when the address cannot be bound.
    """
    cats = CatServer(host, port)
    await cats.start()
    try:
        announce(f"cats: {cats.url}")
        await asyncio.Event().wait()
    finally:
        await cats.stop()


async def call_cats(origin: str, *, announce: Callable[[str], object]) -> None:
    """Let the clients call the cats at ``origin`` until this is cancelled.

    Nobody has to listen there yet, or always: the clients try again.
    """
    url = origin + PATH
    announce(f"clients: {url}")
    await run_clients(url, asyncio.Event())
