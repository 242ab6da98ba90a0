"""The compose file: valid, pinned, closed, and at one with the files that it puts together."""

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from mcp_proxy_exporter import __version__, cli
from mcp_proxy_exporter.commands.demo import DEFAULT_LISTEN
from mcp_proxy_exporter.config import TimeoutSettings, load
from tests.containers.engine import find_compose
from tests.deploy.files import (
    COMPOSE,
    ROOT,
    read_environment,
    read_services,
    read_yaml,
)

OWN = ("cats", "clients", "proxy")
PORTS = {"proxy": {8080, 10464}, "prometheus": {9090}, "alertmanager": {9093}, "grafana": {3000}}
"""What is published, by service: each under the same number."""


def default(text: str) -> str:
    """Write a text with variables as it is where none is set."""
    return re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", text)


def mounts() -> Iterator[tuple[str, str, str, str]]:
    """Yield service, source, target and mode of each mounted file or folder."""
    for name, service in read_services().items():
        for volume in service.get("volumes", ()):
            source, target, mode = (*default(volume).split(":"), "")[:3]
            if source.startswith("."):
                yield name, source, target, mode


def test_compose_takes_the_file() -> None:
    command = [*find_compose(), "--file", str(COMPOSE), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_services_are_those_that_the_other_files_know() -> None:
    assert set(read_services()) == {*OWN, "prometheus", "alertmanager", "grafana"}


@pytest.mark.parametrize("name", read_services())
def test_every_service_is_confined(name: str) -> None:
    service = read_services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["mem_limit"]
    assert service["cpus"] <= 1  # more than a small machine has would be refused
    assert not {"privileged", "network_mode", "pid", "cap_add", "devices", "user"} & set(service)
    assert "docker.sock" not in str(service.get("volumes"))


@pytest.mark.parametrize("name", read_services())
def test_every_image_has_a_version(name: str) -> None:
    image = read_services()[name]["image"]
    if name in OWN:
        assert image == f"mcp-proxy-exporter:{__version__}"
    else:
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image)


@pytest.mark.parametrize("name", read_services())
def test_every_service_says_how_it_is(name: str) -> None:
    check = read_services()[name]["healthcheck"]
    assert check == {"disable": True} if name == "clients" else check["test"][0] == "CMD"


@pytest.mark.parametrize("name", read_services())
def test_ports_are_this_machines_own(name: str) -> None:
    published = [default(port).split(":") for port in read_services()[name].get("ports", ())]
    assert all(host == "127.0.0.1" and outer == inner for host, outer, inner in published)
    assert {int(inner) for _, _, inner in published} == PORTS.get(name, set())


def test_what_is_mounted_is_there_and_cannot_be_written() -> None:
    found = list(mounts())
    assert len(found) == 6
    for name, source, _, mode in found:
        assert (ROOT / source).exists(), f"{name}: {source}"
        assert mode == "ro", f"{name}: {source}"


def test_named_volumes_are_declared() -> None:
    used = {
        volume.partition(":")[0]
        for service in read_services().values()
        for volume in service.get("volumes", ())
        if not volume.startswith((".", "$"))
    }
    assert used == set(read_yaml(COMPOSE)["volumes"])


def test_services_wait_for_services_that_are_there() -> None:
    services = read_services()
    waited = [
        (name, condition["condition"])
        for service in services.values()
        for name, condition in service.get("depends_on", {}).items()
    ]
    assert waited
    for name, condition in waited:
        assert condition == "service_healthy"
        assert services[name]["healthcheck"]["test"]


def test_a_server_of_ones_own_needs_no_cats() -> None:
    services = read_services()
    started = {"proxy", "prometheus", "alertmanager", "grafana"}
    assert (
        f"docker compose up {' '.join(sorted(started, key=list(services).index))}"
        in (ROOT / "docs" / "deployment.md").read_text()
    )
    for name in started:
        assert set(services[name].get("depends_on", {})) <= started
    assert services["proxy"]["extra_hosts"] == ["host.docker.internal:host-gateway"]


def test_the_proxy_starts_with_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = read_services()["proxy"]
    variables = read_environment() | {
        name: default(text) for name, text in proxy["environment"].items()
    }
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    [(source, target)] = [
        (source, target) for name, source, target, _ in mounts() if name == "proxy"
    ]
    assert proxy["command"] == ["run", "--config", target]
    settings = load(ROOT / source)
    [server] = settings.servers
    assert (server.name, server.upstream, server.listen) == ("cats", "http://cats:3001", ":8080")
    assert settings.admin.listen == ":10464"
    # The cats' own metrics are what the dashboards show.
    assert {metric.name for metric in settings.metrics.custom} >= {"cat_claw_level"}


def run_proxy_as_composed(monkeypatch: pytest.MonkeyPatch, **given: str) -> Any:
    """Load what the proxy would, with these variables before `docker compose`."""
    env = {name: text for name, text in os.environ.items() if not name.startswith("MCP_")}
    command = [*find_compose(), "--file", str(COMPOSE), "config"]
    done = subprocess.run(
        command, env=env | given, capture_output=True, text=True, timeout=60, check=True
    )
    proxy = yaml.safe_load(done.stdout)["services"]["proxy"]
    for name, text in (read_environment() | proxy["environment"]).items():
        monkeypatch.setenv(name, text)
    [volume] = proxy["volumes"]
    # The older docker-compose writes it in one text.
    source = volume.partition(":")[0] if isinstance(volume, str) else volume["source"]
    return load(Path(source))


def test_a_variable_names_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = run_proxy_as_composed(monkeypatch, MCP_UPSTREAM="http://h:1", MCP_SERVER="mine")
    [server] = settings.servers
    assert (server.name, server.upstream, server.listen) == ("mine", "http://h:1", ":8080")


def test_a_file_of_ones_own_decides_which_servers_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[[servers]]\nname = "own"\nupstream = "http://own:1"\n')
    settings = run_proxy_as_composed(monkeypatch, MCP_CONFIG=str(file))
    [server] = settings.servers
    # Before, the variables of the cats went over it, and nobody said so.
    assert (server.name, server.upstream, server.listen) == ("own", "http://own:1", ":8080")


def test_a_file_may_have_several_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = '[[servers]]\nname = "{0}"\nlisten = ":{0}"\nupstream = "http://h:{0}"\n'
    file = tmp_path / "own.toml"
    file.write_text("".join(server.format(port) for port in (8081, 8082)))
    settings = run_proxy_as_composed(monkeypatch, MCP_CONFIG=str(file), MCP_LISTEN="")
    assert [server.listen for server in settings.servers] == [":8081", ":8082"]


def test_the_cats_have_the_metrics_of_the_demonstration() -> None:
    own, demo = (
        tomllib.loads((ROOT / file).read_text())["metrics"]
        for file in ("deploy/compose/proxy.toml", "mcp_proxy_exporter/demo/cats.toml")
    )
    assert own == demo


def test_documented_variables_are_those_of_the_file() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    used = {name for name, _ in re.findall(r"\$\{(\w+)(:?-)", COMPOSE.read_text())}
    documented = {name for name in used if re.search(rf"^\| .*`{name}`", text, re.MULTILINE)}
    assert documented == used


def test_stopping_takes_longer_than_draining() -> None:
    grace = read_services()["proxy"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > TimeoutSettings().drain


@pytest.mark.parametrize("name", OWN)
def test_commands_are_commands_of_the_product(name: str) -> None:
    arguments = cli._build_parser().parse_args(read_services()[name]["command"])
    assert callable(arguments.command)


def test_cats_and_clients_meet_at_the_proxy() -> None:
    services = read_services()
    port = DEFAULT_LISTEN.rpartition(":")[2]
    assert services["cats"]["command"][-1] == f":{port}"
    assert f"'127.0.0.1', {port}" in services["cats"]["healthcheck"]["test"][-1]
    assert services["clients"]["command"][-1] == "http://proxy:8080"


def targets() -> dict[str, list[str]]:
    configuration = read_yaml(ROOT / "prometheus" / "prometheus.yml")
    return {
        job["job_name"]: [target for group in job["static_configs"] for target in group["targets"]]
        for job in configuration["scrape_configs"]
    }


def test_prometheus_scrapes_and_alerts_services_of_the_file() -> None:
    configuration = read_yaml(ROOT / "prometheus" / "prometheus.yml")
    [alertmanager] = configuration["alerting"]["alertmanagers"]
    assert targets()["mcp-proxy-exporter"] == ["proxy:10464"]
    addresses = [address for addresses in targets().values() for address in addresses]
    addresses += alertmanager["static_configs"][0]["targets"]
    for address in addresses:
        host, _, port = address.partition(":")
        assert int(port) in PORTS["prometheus" if host == "localhost" else host], address


def test_prometheus_finds_its_files() -> None:
    target = {source: target for name, source, target, _ in mounts() if name == "prometheus"}
    place = "/etc/prometheus"
    assert target == {
        "./prometheus/prometheus.yml": f"{place}/prometheus.yml",
        "./prometheus/rules": f"{place}/rules",
    }
    assert read_yaml(ROOT / "prometheus" / "prometheus.yml")["rule_files"] == ["rules/*.yml"]
    command = read_services()["prometheus"]["command"]
    assert f"--config.file={place}/prometheus.yml" in command
    assert "--enable-feature=exemplar-storage" in command


def read_provisioned(kind: str) -> list[dict[str, Any]]:
    [file] = (ROOT / "grafana" / "provisioning" / kind).iterdir()
    provisioned: list[dict[str, Any]] = read_yaml(file)[
        "datasources" if kind == "datasources" else "providers"
    ]
    return provisioned


def test_grafana_asks_services_of_the_file() -> None:
    urls = [urlsplit(source["url"]) for source in read_provisioned("datasources")]
    assert {url.hostname for url in urls} == {"prometheus", "alertmanager"}
    for url in urls:
        assert url.port in PORTS[url.hostname or ""]


def test_grafana_finds_its_dashboards() -> None:
    target = {source: target for name, source, target, _ in mounts() if name == "grafana"}
    assert target["./grafana/provisioning"] == "/etc/grafana/provisioning"
    [provider] = read_provisioned("dashboards")
    assert target["./grafana/dashboards"] == provider["options"]["path"]
    environment = read_services()["grafana"]["environment"]
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    folder, _, name = home.rpartition("/")
    assert folder == provider["options"]["path"]
    assert (ROOT / "grafana" / "dashboards" / name).is_file()


def test_grafana_lets_everybody_look_and_nobody_change() -> None:
    environment = read_services()["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert not any("PASSWORD" in name for name in environment)
    assert environment["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"


def test_prometheus_scrapes_as_often_as_grafana_thinks() -> None:
    interval = read_yaml(ROOT / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    [source] = [each for each in read_provisioned("datasources") if each["type"] == "prometheus"]
    assert source["jsonData"]["timeInterval"] == interval
