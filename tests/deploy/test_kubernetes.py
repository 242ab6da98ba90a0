"""The resources for Kubernetes: valid, restricted, and at one with the image and the proxy."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_proxy_exporter import __version__, cli
from mcp_proxy_exporter.config import load
from mcp_proxy_exporter.config.layers import PREFIX
from tests.deploy.files import (
    KUBERNETES,
    KUSTOMIZATIONS,
    ROOT,
    find_program,
    read_environment,
    read_resource,
    read_yaml,
)

# The oldest with native sidecars and preStop's sleep on by default, and the newest with a schema.
VERSIONS = ("1.30.0", "1.37.0")
METRICS_LABEL = "mcp-proxy-exporter/metrics"
NAME = "app.kubernetes.io/name"

# Of the Prometheus operator's monitoring.coreos.com/v1: the keys that our resources may use. What
# the API server does not know it drops, and says nothing.
RULE_KEYS = {"alert", "annotations", "expr", "for", "keep_firing_for", "labels", "record"}
GROUP_KEYS = {"interval", "labels", "limit", "name", "query_offset", "rules"}
MONITOR_KEYS = {"jobLabel", "podMetricsEndpoints", "podTargetLabels", "selector"}
ENDPOINT_KEYS = {"interval", "path", "port", "relabelings", "scrapeTimeout"}
RELABELING_KEYS = {"action", "regex", "replacement", "sourceLabels", "targetLabel"}


def resources() -> Iterator[tuple[str, str]]:
    for folder in KUSTOMIZATIONS:
        for name in read_resource(folder, "kustomization")["resources"]:
            yield folder, name.removesuffix(".yaml")


BUILT_IN = [each for each in resources() if each[0] != "monitoring"]


@pytest.mark.parametrize("version", VERSIONS)
def test_resources_are_valid(version: str) -> None:
    files = [str(KUBERNETES / folder / f"{name}.yaml") for folder, name in BUILT_IN]
    command = [find_program("kubernetes-validate"), "--strict", "-k", version, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count("passed for resource") == len(files) == 8, said


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_every_file_is_used(folder: str) -> None:
    files = {file.name for file in (KUBERNETES / folder).glob("*.yaml")} - {"kustomization.yaml"}
    assert set(read_resource(folder, "kustomization")["resources"]) == files


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_kustomize_builds_what_is_written(folder: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on PATH")
    command = ["kubectl", "kustomize", str(KUBERNETES / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    built = {(each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all(done.stdout)}
    written = [read_resource(*each) for each in resources() if each[0] == folder]
    assert {(each["kind"], each["metadata"]["name"]) for each in written} <= built


def read_pod(folder: str) -> dict[str, Any]:
    template = read_resource(folder, "deployment")["spec"]["template"]
    assert isinstance(template, dict)
    return template


def read_containers(folder: str) -> list[dict[str, Any]]:
    spec = read_pod(folder)["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def read_proxy(folder: str) -> dict[str, Any]:
    [proxy] = [each for each in read_containers(folder) if each["name"] == "proxy"]
    return proxy


DEPLOYED = ("sidecar", "standalone")


@pytest.mark.parametrize("folder", DEPLOYED)
def test_pods_are_restricted(folder: str) -> None:
    # Kubernetes, Pod Security Standards, Restricted; and a file system that cannot be written.
    spec = read_pod(folder)["spec"]
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert {next(iter(set(volume) - {"name"})) for volume in spec.get("volumes", ())} <= {
        "configMap"
    }
    for container in read_containers(folder):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPort" in port for port in container.get("ports", ()))


@pytest.mark.parametrize("folder", DEPLOYED)
def test_images_and_commands_are_the_products(folder: str) -> None:
    for container in read_containers(folder):
        assert container["image"] == f"mcp-proxy-exporter:{__version__}"
        arguments = cli._build_parser().parse_args(container.get("args", ["run"]))
        assert callable(arguments.command)
        assert container["resources"]["limits"].keys() == {"memory"}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("folder", DEPLOYED)
def test_probes_ask_the_admin(folder: str) -> None:
    proxy = read_proxy(folder)
    ports = {port["name"]: port["containerPort"] for port in proxy["ports"]}
    assert ports == {"mcp": 8080, "metrics": 10464}
    assert proxy["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}
    assert proxy["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}


def test_the_sidecar_is_ready_before_its_server_and_ends_after_it() -> None:
    spec = read_pod("sidecar")["spec"]
    [proxy] = spec["initContainers"]
    assert proxy["restartPolicy"] == "Always"
    assert proxy["startupProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    [server] = spec["containers"]
    assert "preStop" in server["lifecycle"]
    # The proxy is the only way to the server, and knows it.
    variables = {each["name"]: each["value"] for each in proxy["env"]}
    assert variables[f"{PREFIX}UPSTREAM"] == f"http://{server['args'][-1]}"
    assert server["args"][-1].startswith("127.0.0.1:")


def load_settings(folder: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    given = {each["name"]: each["value"] for each in read_proxy(folder).get("env", ())}
    for name, text in (read_environment() | given).items():
        monkeypatch.setenv(name, text)
    files = read_resource(folder, "kustomization").get("configMapGenerator", [{"files": [None]}])
    [name] = files[0]["files"]
    return load(KUBERNETES / folder / name if name else None)


@pytest.mark.parametrize("folder", DEPLOYED)
def test_the_proxy_starts_with_what_it_is_given(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(folder, monkeypatch)
    [server] = settings.servers
    assert (server.name, server.listen, settings.admin.listen) == ("mcp", ":8080", ":10464")


def test_the_standalone_file_says_the_same_without_the_image() -> None:
    settings = load(KUBERNETES / "standalone" / "proxy.toml")
    assert (settings.servers[0].listen, settings.admin.listen) == (":8080", ":10464")


@pytest.mark.parametrize("folder", DEPLOYED)
def test_pods_get_the_time_to_drain(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drain = load_settings(folder, monkeypatch).timeouts.drain
    pauses = [
        container["lifecycle"]["preStop"]["sleep"]["seconds"]
        for container in read_containers(folder)
        if "lifecycle" in container
    ]
    assert pauses
    assert read_pod(folder)["spec"]["terminationGracePeriodSeconds"] > sum(pauses) + drain


@pytest.mark.parametrize("folder", DEPLOYED)
def test_selectors_select(folder: str) -> None:
    deployment = read_resource(folder, "deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    chosen = [deployment["spec"]["selector"]["matchLabels"]]
    chosen += [read_resource(folder, "service")["spec"]["selector"]]
    chosen += [read_resource(folder, "networkpolicy")["spec"]["podSelector"]["matchLabels"]]
    chosen += [read_resource("monitoring", "podmonitor")["spec"]["selector"]["matchLabels"]]
    if folder == "standalone":
        chosen += [read_resource(folder, "poddisruptionbudget")["spec"]["selector"]["matchLabels"]]
        [spread] = read_pod(folder)["spec"]["topologySpreadConstraints"]
        chosen += [spread["labelSelector"]["matchLabels"]]
        target = read_resource(folder, "horizontalpodautoscaler")["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
        assert "replicas" not in deployment["spec"]
    for selector in chosen:
        assert selector
        assert selector.items() <= labels.items()


@pytest.mark.parametrize("folder", DEPLOYED)
def test_services_keep_sessions_together_and_metrics_out(folder: str) -> None:
    spec = read_resource(folder, "service")["spec"]
    assert spec["sessionAffinity"] == "ClientIP"
    kept = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]
    assert kept > load(None, {"--upstream": "http://h"}).inspection.session_idle_seconds
    ports = {each["name"]: each["containerPort"] for each in read_proxy(folder)["ports"]}
    # By name or by number, but never the metrics.
    assert [ports.get(each["targetPort"], each["targetPort"]) for each in spec["ports"]] == [8080]
    assert spec.get("type", "ClusterIP") == "ClusterIP"


@pytest.mark.parametrize("folder", DEPLOYED)
def test_only_prometheus_reaches_the_metrics(folder: str) -> None:
    rules = read_resource(folder, "networkpolicy")["spec"]["ingress"]
    by_port = {rule["ports"][0]["port"]: rule["from"] for rule in rules}
    assert set(by_port) == {8080, 10464}
    [source] = by_port[10464]
    assert source["podSelector"]["matchLabels"] == {NAME: "prometheus"}
    # Both in one entry: in that namespace AND that pod.
    assert source["namespaceSelector"]["matchLabels"]
    assert all(len(rule["ports"]) == 1 for rule in rules)


@pytest.mark.parametrize("folder", DEPLOYED)
def test_no_service_or_policy_names_a_port_of_a_sidecar(folder: str) -> None:
    # The names of init containers' ports are looked up since Kubernetes 1.32 only; before it the
    # Service has no endpoint and the policy lets nobody in.
    spec = read_pod(folder)["spec"]
    found = {
        port["name"]
        for container in spec["containers"]
        for port in container.get("ports", ())
        if "name" in port
    }
    used = [port["targetPort"] for port in read_resource(folder, "service")["spec"]["ports"]]
    policy = read_resource(folder, "networkpolicy")["spec"]
    for rule in [*policy["ingress"], *policy.get("egress", ())]:
        used += [port["port"] for port in rule["ports"]]
    assert {port for port in used if isinstance(port, str)} <= found
    numbers = {port["containerPort"] for port in read_proxy(folder)["ports"]}
    assert {port for port in used if port in numbers or port in found}


def test_the_standalone_proxy_reaches_its_server() -> None:
    [server] = load(KUBERNETES / "standalone" / "proxy.toml").servers
    host, _, port = server.upstream.removeprefix("http://").partition(":")
    [to_server, _] = read_resource("standalone", "networkpolicy")["spec"]["egress"]
    assert to_server["ports"] == [{"port": int(port)}]
    assert to_server["to"][0]["podSelector"]["matchLabels"] == {NAME: host}
    # Whoever puts another server there is told that it needs a rule.
    for told in (KUBERNETES / "standalone" / "proxy.toml", ROOT / "docs" / "deployment.md"):
        assert "networkpolicy.yaml" in told.read_text(), told.name


def test_monitor_scrapes_what_the_alerts_know() -> None:
    monitor = read_resource("monitoring", "podmonitor")
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    spec = monitor["spec"]
    assert spec.keys() <= MONITOR_KEYS
    assert spec["selector"] == {"matchLabels": {METRICS_LABEL: "true"}}
    [endpoint] = spec["podMetricsEndpoints"]
    assert endpoint.keys() <= ENDPOINT_KEYS
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
    [relabeling] = endpoint["relabelings"]
    assert relabeling.keys() <= RELABELING_KEYS
    prometheus = read_yaml(ROOT / "prometheus" / "prometheus.yml")
    assert endpoint["interval"] == prometheus["global"]["scrape_interval"]
    assert relabeling["targetLabel"] == "job"
    assert relabeling["replacement"] in {job["job_name"] for job in prometheus["scrape_configs"]}


def run_build_rules(script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script], capture_output=True, text=True, timeout=60, check=False)


def test_rules_are_those_of_prometheus() -> None:
    committed = (KUBERNETES / "monitoring" / "prometheusrule.yaml").read_text()
    done = run_build_rules(KUBERNETES / "build-rules")
    assert done.stdout == committed, "write it anew: deploy/kubernetes/build-rules"
    groups = yaml.safe_load(committed)["spec"]["groups"]
    files = sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
    assert files
    assert groups == [group for file in files for group in read_yaml(file)["groups"]]


def test_rules_are_a_valid_resource() -> None:
    resource = read_resource("monitoring", "prometheusrule")
    kind = (resource["apiVersion"], resource["kind"])
    assert kind == ("monitoring.coreos.com/v1", "PrometheusRule")
    groups = resource["spec"]["groups"]
    # The list is a map to the API server, by name.
    assert len({group["name"] for group in groups}) == len(groups)
    for group in groups:
        assert {"name", "rules"} <= group.keys() <= GROUP_KEYS
        for rule in group["rules"]:
            assert "expr" in rule
            assert ("alert" in rule) != ("record" in rule)
            assert rule.keys() <= RULE_KEYS
            texts = [*rule.get("labels", {}).values(), *rule.get("annotations", {}).values()]
            assert all(isinstance(text, str) for text in texts)
            assert re.fullmatch(r"(\d+[smhdwy])+", rule.get("for", "1m"))


@pytest.mark.parametrize("text", ["rules: []\n", "groups:\n  - name: a\nother: 1\n", ""])
def test_what_is_no_file_of_rules_is_refused(tmp_path: Path, text: str) -> None:
    rules = tmp_path / "prometheus" / "rules"
    rules.mkdir(parents=True)
    (rules / "wrong.yml").write_text(text)
    script = tmp_path / "deploy" / "kubernetes" / "build-rules"
    script.parent.mkdir(parents=True)
    shutil.copy(KUBERNETES / "build-rules", script)
    done = run_build_rules(script)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "a file of rules has groups, and nothing else" in done.stderr
