"""A changed configuration or certificate, put into effect while traffic runs: whole, or not at all.

Knows when to look, what keeps a change out, and who has to be told; does not know what the settings
mean, nor how a listener changes (`proxy.server`, `admin`). Files are read in a thread: a slow disk
must not hold up the traffic.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from mcp_proxy_exporter import logs
from mcp_proxy_exporter.admin import Access, AdminServer
from mcp_proxy_exporter.config import AdminSettings, ConfigError, Settings, WrongFile, find_fixed
from mcp_proxy_exporter.observe.metrics import Metrics
from mcp_proxy_exporter.proxy.server import ProxyServer
from mcp_proxy_exporter.proxy.tls import ListenerContext, Stamp, TlsContexts, make_contexts, stamp

_LOG = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""Between two looks at the files of certificates, which last for days at least."""
_STOP_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Settings with everything that their files hold."""

    settings: Settings
    contexts: Mapping[str, TlsContexts]
    """By the names of the servers."""
    admin: ssl.SSLContext | None
    stamp: Stamp

    @classmethod
    def make(cls, settings: Settings) -> Self:
        """Read the files; raise WrongFile."""
        # First, so that a file written meanwhile is found to differ with the next look.
        seen = look(settings)
        return cls(
            settings=settings,
            contexts={server.name: make_contexts(server) for server in settings.servers},
            admin=settings.admin.tls.build() if settings.admin.tls.cert_file else None,
            stamp=seen,
        )


def look(settings: Settings) -> Stamp:
    """Look at all files of certificates."""
    files = [*settings.admin.tls.files]
    for server in settings.servers:
        files += [*server.tls.files, *server.listen_tls.files]
    return stamp(files)


def make_access(settings: AdminSettings) -> Access:
    """Say who may read the metrics."""
    token, user = settings.bearer_token, settings.basic_auth
    return Access(
        bearer_token=None if token is None else token.reveal(),
        user=None if user is None else user.username.encode() + b":" + user.password.reveal(),
    )


class Reloader:
    """Puts what has changed into effect."""

    def __init__(
        self,
        plan: Plan,
        proxies: Mapping[str, ProxyServer],
        admin: AdminServer,
        admin_tls: ListenerContext | None,
        metrics: Metrics,
    ) -> None:
        self.settings = plan.settings
        """Those in effect."""
        self._stamp = plan.stamp
        self._proxies = proxies
        self._admin = admin
        self._admin_tls = admin_tls
        self._metrics = metrics
        self._read_well = True
        self._task: asyncio.Task[None] | None = None
        self._waiting: Callable[[], Settings] | None = None

    def request(self, read: Callable[[], Settings]) -> None:
        """Read the configuration soon, and once more if that goes on already."""
        self._waiting = read
        self.look()

    def look(self) -> None:
        """Read certificates soon, if their files have changed."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
            self._task.add_done_callback(self._end)

    async def stop(self) -> None:
        """Begin nothing more, and wait for what goes on, unless a disk does not answer."""
        self._waiting = None
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_STOP_SECONDS)

    def _end(self, _task: asyncio.Task[None]) -> None:
        self._task = None
        if self._waiting is not None:
            self.look()

    async def _work(self) -> None:
        read, self._waiting = self._waiting, None
        try:
            if read is None:
                await self._refresh()
            else:
                await self._reload(read)
        except Exception as error:  # noqa: BLE001  # whatever it is, traffic goes on as before
            self._refuse(f"an unexpected error: {logs.describe(error)}")

    async def _reload(self, read: Callable[[], Settings]) -> None:
        self._read_well = False
        try:
            settings = await asyncio.to_thread(read)
            fixed = find_fixed(self.settings, settings)
            if fixed:
                self._refuse(*(f"{setting}: only a restart can change it" for setting in fixed))
                return
            plan = await asyncio.to_thread(Plan.make, settings)
        except ConfigError as error:
            self._refuse(*map(str, error.problems))
        except WrongFile as error:
            self._refuse(str(error))
        else:
            self._put_into_effect(plan)
            self._read_well = True
            self._metrics.reloaded(successful=True)
            _LOG.info("the configuration was reloaded")

    async def _refresh(self) -> None:
        """Read certificates anew whose files were written."""
        seen = await asyncio.to_thread(look, self.settings)
        if seen == self._stamp:
            return
        self._stamp = seen  # also if they are wrong: to be said once
        try:
            plan = await asyncio.to_thread(Plan.make, self.settings)
        except WrongFile as error:
            self._refuse(str(error))
            return
        self._take_certificates(plan)
        if self._read_well:
            self._metrics.reloaded(successful=True)
        _LOG.info("certificates were reloaded")

    def _refuse(self, *problems: str) -> None:
        self._metrics.reloaded(successful=False)
        for problem in problems:
            _LOG.error("%s", problem)
        _LOG.error("nothing was reloaded: what was in effect before stays so")

    def _put_into_effect(self, plan: Plan) -> None:
        """Change everything, in one turn of the event loop."""
        settings = self.settings = plan.settings
        for server in settings.servers:
            self._proxies[server.name].change(
                server, limits=settings.limits, timeouts=settings.timeouts
            )
        self._admin.access = make_access(settings.admin)
        self._take_certificates(plan)
        logs.change_level(settings.log.level)
        tell_insecure(settings, self._metrics)

    def _take_certificates(self, plan: Plan) -> None:
        self._stamp = plan.stamp
        for name, contexts in plan.contexts.items():
            self._proxies[name].change_tls(contexts)
        if self._admin_tls is not None and plan.admin is not None:
            self._admin_tls.newest = plan.admin


def tell_insecure(settings: Settings, metrics: Metrics) -> None:
    """Say of which servers the upstream could be anybody, in the log and in a figure."""
    for server in settings.servers:
        insecure = server.tls.insecure_skip_verify
        metrics.verifies(server.name, insecure=insecure)
        if insecure:
            _LOG.warning(
                "server %s: insecure_skip_verify is set, so whoever is between it and this proxy "
                "can read and change everything",
                server.name,
            )
