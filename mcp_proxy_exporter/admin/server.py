"""What the admin listener answers, and to whom.

Knows HTTP and what an operator asks for; does not know what is measured or when the process is
ready, which it is told by functions. Nothing here is served on the listeners of the traffic.
"""

import asyncio
import base64
import binascii
import hmac
import html
import ipaddress
import logging
import re
import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from mcp_proxy_exporter import __version__
from mcp_proxy_exporter.admin.pages import Pages, Write
from mcp_proxy_exporter.admin.visitors import KEEPALIVE_SECONDS, Visitor, Visitors
from mcp_proxy_exporter.config import TcpAddress
from mcp_proxy_exporter.logs import describe
from mcp_proxy_exporter.observe.exposition import choose
from mcp_proxy_exporter.proxy.admission import HostRule
from mcp_proxy_exporter.proxy.arrivals import Arrivals
from mcp_proxy_exporter.proxy.errors import Rejected

_BACKLOG = 128
_FINISH_SECONDS = 0.75  # at the end of the process, for a scrape that is under way
_PIECE = 65_536
"""Bytes of a page that are handed over at once: more would pile up before a slow reader."""

_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")  # RFC 9110 section 12.4.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One configured server, as the index page shows it."""

    name: str
    listens: Sequence[str]
    upstream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may read more than whether the process is well; with neither, everybody."""

    bearer_token: bytes | None = field(default=None, repr=False)
    user: bytes | None = field(default=None, repr=False)
    """Name and password with a colon between, as RFC 7617 joins them."""

    @property
    def challenges(self) -> Sequence[str]:
        """How to ask for credentials: one for each kind; none where none are needed."""
        return [
            f'{scheme} realm="mcp-proxy-exporter"'
            for scheme, secret in (("Bearer", self.bearer_token), ("Basic", self.user))
            if secret is not None
        ]

    def admits(self, authorization: str) -> bool:
        """Judge the value of an Authorization header, in a time that says nothing of secrets."""
        scheme, _, credentials = authorization.partition(" ")
        given = credentials.strip(" ").encode("utf-8", "surrogateescape")
        match scheme.lower():
            case "bearer":
                secret = self.bearer_token
            case "basic":
                secret = self.user
                try:
                    given = base64.b64decode(given, validate=True)
                except binascii.Error:
                    return False
            case _:
                return False
        return secret is not None and hmac.compare_digest(given, secret)


EVERYBODY = Access()

_OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""For whoever starts and stops processes, who has no secrets; they say one word."""


class AdminServer:
    """Serves ``/``, ``/metrics``, ``/livez`` and ``/readyz``."""

    def __init__(
        self,
        address: TcpAddress,
        *,
        render: Write,
        ready: Callable[[], bool],
        servers: Callable[[], Sequence[Line]],
        tls: ssl.SSLContext | None = None,
        access: Access = EVERYBODY,
        allowed_hosts: Collection[str] = (),
    ) -> None:
        """Take the functions that know what is asked for.

        ``render`` writes the metrics. ``tls`` None speaks plain HTTP. ``allowed_hosts`` are checked
        if there are any, or if nothing but loopback addresses are listened on.
        """
        self._address = address
        self._pages = Pages(render)
        self._ready = ready
        self._servers = servers
        self._allowed_hosts = allowed_hosts
        self._host_rule: HostRule | None = None
        self.access = access
        """To be replaced at any time."""
        self._visitors = Visitors()
        self._tls = tls
        self._arrivals: Arrivals | None = None
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
            handler_cancellation=True,
            shutdown_timeout=_FINISH_SECONDS,
        )
        await runner.setup()
        speak = cast("web.Server", runner.server)  # it was made a moment ago
        arrivals = self._arrivals = Arrivals(
            lambda: Visitor(self._visitors, speak()),
            self._tls,
            lambda: self._visitors.admit(len(arrivals), arrivals.drop),
        )
        listens = await arrivals.start(self._address, _BACKLOG)
        if self._allowed_hosts or all(map(_is_loopback, listens)):
            own = [self._address.host] if self._address.host else []
            self._host_rule = HostRule(own, self._allowed_hosts)
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://{listens[0]}"

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        if self._arrivals is not None:
            self._arrivals.close()
            self._arrivals.abort()
        if self._runner is not None:
            await self._visitors.leave(_FINISH_SECONDS)
            await self._runner.cleanup()
            self._runner = None

    def _build(self) -> web.Application:
        app = web.Application(middlewares=[self._attend, self._guard])
        app.router.add_get("/", self._answer_index)
        app.router.add_get("/metrics", self._answer_metrics)
        app.router.add_get("/livez", self._answer_live)
        app.router.add_get("/readyz", self._answer_ready)
        app.on_response_prepare.append(_set_common_fields)
        return app

    @web.middleware
    async def _attend(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """See to the time that an answer takes."""
        visitor = self._visitors.members[request.protocol]
        visitor.begin()
        try:
            return await handler(request)
        finally:
            visitor.end()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Judge the host and ask for credentials, also where there is nothing to be found."""
        if request.path not in _OPEN_PATHS and not self._admits_host(request):
            return web.Response(
                status=421, text="not served under this Host: see admin.allowed_hosts\n"
            )
        challenges = self.access.challenges
        if (
            not challenges
            or request.path in _OPEN_PATHS
            or self.access.admits(request.headers.get(hdrs.AUTHORIZATION, ""))
        ):
            return await handler(request)
        refusal = web.Response(status=401, text="not authorized\n")
        for challenge in challenges:
            refusal.headers.add(hdrs.WWW_AUTHENTICATE, challenge)
        return refusal

    def _admits_host(self, http_request: web.Request) -> bool:
        """Refuse what a web page would ask for through a name that was rebound to this address.

        Browsers send a Host, always (Fetch, forbidden request-headers): who sends none is none.
        """
        host = http_request.headers.get(hdrs.HOST)
        if self._host_rule is None or host is None or http_request.transport is None:
            return True
        local = http_request.transport.get_extra_info("sockname")[0]
        try:
            self._host_rule.check(host.encode("utf-8", "surrogateescape"), local)
        except Rejected:
            return False
        return True

    async def _answer_metrics(self, http_request: web.Request) -> web.StreamResponse:
        # Repeated fields mean one list (RFC 9110 section 5.3).
        accept = ", ".join(http_request.headers.getall(hdrs.ACCEPT, ()))
        codings = ", ".join(http_request.headers.getall(hdrs.ACCEPT_ENCODING, ()))
        cut = self._visitors.members[http_request.protocol].reset
        compress = accepts_gzip(codings)
        async with self._pages.take(choose(accept), cut, compress=compress) as page:
            response = web.StreamResponse()
            response.content_length = len(page.body)
            response.headers[hdrs.CONTENT_TYPE] = page.content_type
            response.headers[hdrs.VARY] = "Accept, Accept-Encoding"
            if page.content_encoding:
                response.headers[hdrs.CONTENT_ENCODING] = page.content_encoding
            await response.prepare(http_request)
            if http_request.method != hdrs.METH_HEAD:
                for start in range(0, len(page.body), _PIECE):
                    # Copies: what waits for a slow reader must not hold the whole.
                    await response.write(page.body[start : start + _PIECE])
                    await asyncio.sleep(0)  # a fast reader would keep the loop from all others
            await response.write_eof()
            return response

    async def _answer_live(self, _http_request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _answer_ready(self, _http_request: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready\n")

    async def _answer_index(self, _http_request: web.Request) -> web.Response:
        return web.Response(text=write_index(self._servers()), content_type="text/html")


def _is_loopback(address: TcpAddress) -> bool:
    return ipaddress.ip_address(address.host.partition("%")[0]).is_loopback


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


def accepts_gzip(accept_encoding: str) -> bool:
    """Say whether gzip is asked for, and no less than no compression (RFC 9110 section 12.5.3)."""
    weights: dict[str, float] = {}
    for coding in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in coding.split(";"))
        # x-gzip is the same (section 8.4.1.3).
        weights[name.removeprefix("x-")] = _weigh(parameters)
    weight = weights.get("gzip", weights.get("*", 0.0))
    # No compression is acceptable where it is not named, and then least wanted of all.
    return weight > 0 and weight >= weights.get("identity", 0.0)


def _weigh(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            # Of another form nobody knows what is wanted.
            return float(value) if _WEIGHT.fullmatch(value) else 0.0
    return 1.0


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
    """Keep malformed requests out of the log: anyone can send many, and 400 says it to them.

    What is our own fault is logged without its text, which may say what was being written.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        return False
    if error is not None:
        record.exc_info = record.exc_text = None
        record.msg, record.args = "an answer failed: %s", (describe(error),)
    return True
