"""The cats: an MCP server worth watching, clients that call it, and a table of what the proxy saw.

Read `stage` first: `perform` owns the order in which everything starts and stops. It knows no
proxy; the caller hands it a function that starts one:

    async def start_proxy(upstream: str) -> RunningProxy:
        service = ...                               # listens, forwards to `upstream`, exposes
        await service.start()
        return RunningProxy(url=..., admin_url=..., stop=service.stop)

    await perform(start_proxy, duration=None, output=sys.stdout)

- `upstream` is the cats' origin without a path (``http://127.0.0.1:43211``): paths are the same on
  both sides of the proxy. ``url`` and ``admin_url`` are origins too.
- `perform` returns after ``duration`` seconds, or runs until it is cancelled and then raises
  `asyncio.CancelledError` once all is stopped and the last table is printed: well under a second.
  It handles no signal. Under `asyncio.run` Ctrl-C arrives as that cancellation and leaves as
  `KeyboardInterrupt`; whoever wants the terminal restored on SIGTERM cancels the task on SIGTERM.
- What `start_proxy` raises (a port in use) passes through before anything was drawn.
- `BrokenPipeError` (``demo | head``) passes through after all is stopped.

`server.CatServer` and `clients.run_clients` also work alone.
"""
