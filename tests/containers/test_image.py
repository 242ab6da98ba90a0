"""The image and the compose stack, for real: built, started, called, scraped, stopped.

Wants a Docker engine. The image is built on the Dockerfile's own base, or on the one that
`IMAGE_BASE` names where that cannot be pulled; Prometheus and Alertmanager may be this machine's
programs in an image of their own (`tools/get-prometheus`). Run it with ``-s`` to see the figures.
Images stay, so that the next run takes most of them from the cache.
"""

import functools
import json
import os
import re
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_proxy_exporter import __version__
from tests.containers.engine import (
    ROOT,
    Stack,
    build,
    container,
    docker,
    has_image,
    inspect,
    is_healthy,
    network,
    read_log,
    skip_without_engine,
    wait_for,
    wrap,
)
from tests.support.programs import find_free_port
from tests.support.scrape import fetch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

IMAGE = "mcp-proxy-exporter-test"
REVISION = "0123456789abcdef"
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
HEALTHY_SECONDS = 60.0
STOP_SECONDS = 25
NAP_SECONDS = 4.0
STAND_INS = {
    "prometheus": ({"prometheus": "prometheus", "promtool": "promtool"}, "/prometheus"),
    "alertmanager": (
        {"alertmanager": "prometheus-alertmanager", "amtool": "amtool"},
        "/alertmanager",
    ),
}
"""The programs of each image and where it keeps its state."""
FIND_TOOLS = """
import importlib.util, json, shutil
commands = [name for name in ("cc", "gcc", "g++", "ld", "as", "make", "pip", "pip3", "easy_install")
            if shutil.which(name)]
modules = [name for name in ("pip", "setuptools", "wheel", "ensurepip")
           if importlib.util.find_spec(name)]
print(json.dumps([commands, modules]))
"""
TRY_TO_WRITE = """
import json, os
refused = {}
for place in ("/", "/tmp", "/opt/mcp-proxy-exporter", "/etc"):
    try:
        open(os.path.join(place, "written"), "w")
    except OSError as error:
        refused[place] = error.strerror
print(json.dumps({"uid": os.getuid(), "gid": os.getgid(), "refused": refused}))
"""


@pytest.fixture(scope="module")
def base() -> str:
    skip_without_engine()
    [written] = re.findall(r"(?m)^ARG BUILD_BASE=(\S+)$", (ROOT / "Dockerfile").read_text())
    name: str = os.environ.get("IMAGE_BASE", written)
    if not has_image(name):
        pytest.skip(f"the base image {name} cannot be had; IMAGE_BASE may name another one")
    return name


@pytest.fixture(scope="module")
def image(base: str) -> str:
    begin = time.monotonic()
    build(IMAGE, base, REVISION)
    size, below = inspect(IMAGE)["Size"], inspect(base)["Size"]
    tell(f"built in {time.monotonic() - begin:.0f} s on {base}")
    tell(f"image: {size / 1e6:.0f} MB, of these {(size - below) / 1e6:.0f} MB over its base")
    return IMAGE


def tell(figure: str) -> None:
    print(f"\n  {figure}")  # noqa: T201  # what is measured on the way


def test_the_image_says_what_it_is(image: str) -> None:
    known = inspect(image)["Config"]
    assert known["User"] == "65532:65532"
    assert set(known["ExposedPorts"]) == {"8080/tcp", "10464/tcp"}
    assert known["Entrypoint"] == ["python3", "-m", "mcp_proxy_exporter"]
    assert known["StopSignal"] == "SIGTERM"
    assert known["Healthcheck"]["Test"][-1] == "healthcheck"
    labels = known["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"] == REVISION


def test_nothing_of_the_build_is_left(image: str) -> None:
    text = docker("run", "--rm", "--entrypoint", "python3", image, "-c", FIND_TOOLS)
    assert json.loads(text) == [[], []]
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    assert "FIND_LINKS" not in history
    assert not any("PIP" in variable for variable in inspect(image)["Config"]["Env"])


def test_it_runs_as_nobody_on_a_file_system_that_cannot_be_written(image: str) -> None:
    options = ("--rm", *HARDENED, "--entrypoint", "python3")
    told = json.loads(docker("run", *options, image, "-c", TRY_TO_WRITE))
    assert (told["uid"], told["gid"]) == (65532, 65532)
    assert set(told["refused"].values()) == {"Read-only file system"}


def test_it_becomes_healthy_and_says_its_revision(image: str) -> None:
    upstream = ("--env", "MCP_PROXY_EXPORTER__UPSTREAM=http://127.0.0.1:1")
    options = (*HARDENED, *upstream, "--health-interval=1s", "--publish=127.0.0.1::10464")
    begin = time.monotonic()
    with container(image, options=options) as proxy:
        admin = f"http://{docker('port', proxy, '10464').strip()}"
        wait_for(lambda: answers(admin, "/readyz"), "ready", HEALTHY_SECONDS)
        tell(f"docker run to ready: {time.monotonic() - begin:.2f} s")
        wait_for(lambda: is_healthy(proxy), "healthy", HEALTHY_SECONDS)
        tell(f"docker run to healthy, checked every second: {time.monotonic() - begin:.2f} s")
        checks = inspect(proxy)["State"]["Health"]["Log"]
        assert checks[-1]["Output"] == "alive\n"
        metrics = fetch(admin, "/metrics").body.decode()
        [info] = re.findall(r"(?m)^mcp_proxy_build_info\{(.+)\} 1", metrics)
        assert f'revision="{REVISION}"' in info
        docker("kill", "--signal=STOP", proxy)
        wait_for(lambda: not is_healthy(proxy), "unhealthy", HEALTHY_SECONDS)
        docker("kill", "--signal=CONT", proxy)


def test_stopping_lets_a_call_in_flight_finish(image: str) -> None:
    with network() as net:
        cats = ("--network", net, "--network-alias=cats", "--no-healthcheck", *HARDENED)
        upstream = ("--env", "MCP_PROXY_EXPORTER__UPSTREAM=http://cats:3001")
        proxied = ("--network", net, "--publish=127.0.0.1::8080", *upstream, *HARDENED)
        with (
            container(image, "demo", "server", "--listen", ":3001", options=cats) as server,
            container(image, options=proxied) as proxy,
        ):
            url = f"http://{docker('port', proxy, '8080').strip()}"
            wait_for(lambda: nap(url, 0.0) is not None, "called", HEALTHY_SECONDS)
            answers: list[dict[str, Any] | None] = []
            call = threading.Thread(target=lambda: answers.append(nap(url, NAP_SECONDS)))
            call.start()
            time.sleep(NAP_SECONDS / 4)
            begin = time.monotonic()
            docker("stop", f"--time={STOP_SECONDS}", proxy)
            took = time.monotonic() - begin
            call.join(NAP_SECONDS)
            assert inspect(proxy)["State"]["ExitCode"] == 0, read_log(proxy)
            [answer] = answers
            assert answer is not None
            assert answer["structuredContent"] == {"slept_seconds": NAP_SECONDS}
            tell(f"docker stop with a call of 3 s to go: {took:.2f} s")
            assert NAP_SECONDS / 2 < took < STOP_SECONDS
            begin = time.monotonic()
            docker("stop", f"--time={STOP_SECONDS}", server)
            tell(f"docker stop of the cats: {time.monotonic() - begin:.2f} s")
            assert inspect(server)["State"]["ExitCode"] == 0


def test_the_stack_is_scraped(image: str, base: str, tmp_path: Path) -> None:
    names = ("PROXY_PORT", "ADMIN_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT")
    ports = {name: str(find_free_port()) for name in names}
    services = ["cats", "clients", "proxy", "prometheus", "alertmanager"]
    override = tmp_path / "override.yml"
    override.write_text(yaml.safe_dump({"services": substitute(services, image, base)}))
    stack = Stack([ROOT / "docker-compose.yml", override], ports)
    begin = time.monotonic()
    try:
        stack.run("up", "--detach", "--no-build", *services)
        for service in set(services) - {"clients"}:
            found = stack.find(service)
            wait_for(functools.partial(is_healthy, found), "healthy", HEALTHY_SECONDS)
        tell(f"stack up and healthy: {time.monotonic() - begin:.1f} s")
        prometheus = f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}"
        up = 'up{job="mcp-proxy-exporter"}'
        wait_for(lambda: ask(prometheus, up) == 1, "scraped", HEALTHY_SECONDS)
        calls = "sum(mcp_tool_calls_total)"
        wait_for(lambda: ask(prometheus, calls) > 0, "called", HEALTHY_SECONDS)
        wait_for(lambda: ask(prometheus, "cat_claw_level_count") > 0, "counted", HEALTHY_SECONDS)
        known = json.loads(fetch(prometheus, "/api/v1/alertmanagers").body)
        assert [each["url"] for each in known["data"]["activeAlertmanagers"]] == [
            "http://alertmanager:9093/api/v2/alerts"
        ]
        rules = json.loads(fetch(prometheus, "/api/v1/rules").body)["data"]["groups"]
        assert rules
        assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
        tell(f"tool calls that Prometheus knows: {ask(prometheus, calls):.0f}")
        memory = ask(prometheus, 'process_resident_memory_bytes{job="mcp-proxy-exporter"}')
        tell(f"memory of the proxy: {memory / 1e6:.0f} MB")
        begin = time.monotonic()
        stack.run("stop")
        tell(f"stack stopped: {time.monotonic() - begin:.1f} s")
        for service in services:
            state = inspect(stack.find(service))["State"]
            assert state["ExitCode"] == 0, service
    finally:
        stack.run("down", "--volumes")


def substitute(services: list[str], image: str, base: str) -> dict[str, dict[str, str]]:
    """Name the images: the one under test, and stand-ins for those that cannot be had."""
    written = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    named = {}
    for service in services:
        if service not in STAND_INS:
            named[service] = {"image": image}
        elif not has_image(written[service]["image"]):
            programs, state = STAND_INS[service]
            found = {name: find_program(program) for name, program in programs.items()}
            wrap(f"mcp-test-{service}", base, found, state)
            named[service] = {"image": f"mcp-test-{service}"}
    return named


def find_program(name: str) -> Path:
    """Find a program on PATH or where `.ci/run` puts it."""
    found = shutil.which(name) or shutil.which(name, path=ROOT / ".cache/prometheus/usr/bin")
    if found is None:
        pytest.skip(f"neither its image nor {name} can be had")
    return Path(found)


def answers(origin: str, path: str) -> bool:
    try:
        return fetch(origin, path).status == 200
    except OSError:
        return False


def ask(prometheus: str, query: str) -> float:
    """Give the value of a query; not a number without one."""
    path = f"/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    result = json.loads(fetch(prometheus, path).body)["data"]["result"]
    return float(result[0]["value"][1]) if result else float("nan")


def nap(url: str, seconds: float) -> dict[str, Any] | None:
    """Call the cats' nap as a client of 2026-07-28 does; give its result, None without one."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "nap", "arguments": {"seconds": seconds}, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "nap",
    }
    try:
        body = post(url, json.dumps(message).encode(), headers)
    except OSError:
        return None
    [*_, last] = re.findall(r"(?m)^(?:data: )?(\{.+\})$", body.decode()) or ["{}"]
    result = json.loads(last).get("result")
    return result if isinstance(result, dict) else None


def post(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    request = urllib.request.Request(f"{url}/mcp", body, headers)  # noqa: S310  # http by design
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # the same
            data: bytes = answer.read()
            return data
    except urllib.error.HTTPError as error:
        with error:
            return error.read()
