"""The operator's listener: metrics, health, an index page. Reads, never changes anything.

Knows HTTP and what an operator asks for; does not know what is measured or when the process is
ready, which it is told by functions. Nothing here is served on the listeners of the traffic.
"""

import asyncio
import gzip
import html
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from mcp_proxy_exporter import __version__
from mcp_proxy_exporter.config import TcpAddress

COMPRESS_FROM = 1024  # bytes: below this, one network packet carries it anyway
COMPRESS_LEVEL = 1  # metrics are repetitive: level 9 gains little and costs four times the CPU
KEEPALIVE_SECONDS = 75.0  # a scraper comes back every 15 or 60 s
SHUTDOWN_SECONDS = 1.0  # for a scrape that is under way


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One scrape, written out."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One configured server, as the index page shows it."""

    name: str
    listens: Sequence[str]
    upstream: str


class AdminServer:
    """Serves ``/``, ``/metrics``, ``/livez`` and ``/readyz``."""

    def __init__(
        self,
        address: TcpAddress,
        *,
        render: Callable[[str], Awaitable[Page]],
        ready: Callable[[], bool],
        servers: Callable[[], Sequence[Line]],
    ) -> None:
        """``render`` gets a request's Accept header and writes the metrics in a fitting format."""
        self._address = address
        self._render = render
        self._ready = ready
        self._servers = servers
        self._runner: web.AppRunner | None = None
        self.url = ""
        """Where it listens, with the real port: an origin without a path."""

    async def start(self) -> None:
        """Listen; raise OSError when the address cannot be had."""
        runner = self._runner = web.AppRunner(
            self._build(),
            access_log=None,
            logger=_build_logger(),
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await runner.setup()
        await web.TCPSite(runner, self._address.host or None, self._address.port).start()
        self.url = f"http://{TcpAddress(*runner.addresses[0][:2])}"

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _build(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self._answer_index)
        app.router.add_get("/metrics", self._answer_metrics)
        app.router.add_get("/livez", self._answer_live)
        app.router.add_get("/readyz", self._answer_ready)
        app.on_response_prepare.append(_set_common_fields)
        return app

    async def _answer_metrics(self, http_request: web.Request) -> web.Response:
        # Repeated fields mean one list (RFC 9110 section 5.3).
        page = await self._render(", ".join(http_request.headers.getall(hdrs.ACCEPT, ())))
        body = page.body
        fields = {hdrs.CONTENT_TYPE: page.content_type, hdrs.VARY: "Accept, Accept-Encoding"}
        if len(body) >= COMPRESS_FROM and _accepts_gzip(http_request):
            # In a thread, so that traffic goes on: zlib works without the interpreter's lock.
            body = await asyncio.to_thread(gzip.compress, body, COMPRESS_LEVEL)
            fields[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=body, headers=fields)

    async def _answer_live(self, _http_request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _answer_ready(self, _http_request: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready\n")

    async def _answer_index(self, _http_request: web.Request) -> web.Response:
        return web.Response(text=write_index(self._servers()), content_type="text/html")


def write_index(servers: Sequence[Line]) -> str:
    """Write the index page: what runs here, and where to read more."""
    rows = "".join(
        f"<tr><td>{html.escape(line.name)}</td>"
        f"<td>{html.escape(', '.join(line.listens))}</td>"
        f"<td>{html.escape(line.upstream)}</td></tr>\n"
        for line in servers
    )
    return _INDEX.format(version=html.escape(__version__), rows=rows)


_INDEX = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>mcp-proxy-exporter</title></head>
<body>
<h1>mcp-proxy-exporter {version}</h1>
<ul>
<li><a href="/metrics">/metrics</a>: Prometheus metrics</li>
<li><a href="/livez">/livez</a>: the process runs</li>
<li><a href="/readyz">/readyz</a>: it takes traffic</li>
</ul>
<table>
<tr><th>Server</th><th>Listens on</th><th>Forwards to</th></tr>
{rows}</table>
</body>
</html>
"""


def _accepts_gzip(http_request: web.Request) -> bool:
    """Say whether gzip is asked for (RFC 9110 section 12.5.3); ``q=0`` means it is not."""
    codings = ",".join(http_request.headers.getall(hdrs.ACCEPT_ENCODING, ()))
    for coding in codings.split(","):
        name, _, weight = coding.partition(";")
        if name.strip().lower() == "gzip":
            return weight.replace(" ", "").rstrip("0") not in {"q=", "q=0."}
    return False


async def _set_common_fields(_http_request: web.Request, response: web.StreamResponse) -> None:
    # Which library of which version answers is nobody's business.
    response.headers[hdrs.SERVER] = "mcp-proxy-exporter"
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'"


def _build_logger() -> logging.Logger:
    logger = logging.getLogger(__name__)
    logger.addFilter(_is_own_fault)
    return logger


def _is_own_fault(record: logging.LogRecord) -> bool:
    """Keep malformed requests out of the log: anyone can send many, and 400 says it to them."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
