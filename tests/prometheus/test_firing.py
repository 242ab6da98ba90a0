"""The shipped configuration at work: proxy, Prometheus, Alertmanager and whoever it tells.

The files are the shipped ones but for addresses and for time, of which there is less where nothing
is seen but waiting: Prometheus looks each second instead of each ten, `for` and the interval of
budgets are in seconds instead of minutes, and Alertmanager waits for a second instead of half a
minute. What the rules ask for is untouched, but for how long a server has to be silent.
"""

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from tests.support.monitoring import (
    Hearer,
    Service,
    run_alertmanager,
    run_hearer,
    run_prometheus,
    wait_for,
)
from tests.support.peers import SERVERS
from tests.support.product import Proxy, run_proxy
from tests.support.programs import Program, find_free_port, is_listening, running
from tests.support.rpc_client import build_call, build_modern_headers, post
from tests.support.rule_files import PROMETHEUS, RULE_FILES, RUNBOOKS, list_queries

WAIT_SECONDS = 30.0
SILENCE = "time() - mcp_upstream_last_success_timestamp_seconds > 30"


def hasten(seconds: str) -> str:
    """Give a duration a sixtieth as long or less: minutes are seconds, and hours minutes."""
    return re.sub("[smh]", lambda unit: {"s": "ms", "m": "s", "h": "m"}[unit[0]], seconds)


def write_prometheus(folder: Path, targets: dict[str, str]) -> Path:
    """Write the shipped configuration and rules, with other targets and less patience."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"] = [
        {**job, "static_configs": [{"targets": [targets[job["job_name"]]]}]}
        for job in config["scrape_configs"]
        if job["job_name"] in targets
    ]
    config["alerting"]["alertmanagers"][0]["static_configs"] = [
        {"targets": [targets["alertmanager"]]}
    ]
    (folder / "rules").mkdir()
    for file in RULE_FILES:
        times = re.compile(r"(?m)^( +(?:for|keep_firing_for|interval): )(\w+)$")
        text = times.sub(lambda at: at[1] + hasten(at[2]), file.read_text())
        text = text.replace(SILENCE, f"{SILENCE[:-2]}1")
        (folder / "rules" / file.name).write_text(text)
    written = folder / "prometheus.yml"
    written.write_text(yaml.safe_dump(config))
    return written


def write_alertmanager(folder: Path, url: str) -> Path:
    """Write the shipped configuration, with a receiver and less patience."""
    config = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s"}
    for receiver in config["receivers"]:
        receiver["webhook_configs"] = [{"url": url, "send_resolved": True}]
    written = folder / "alertmanager.yml"
    written.write_text(yaml.safe_dump(config))
    return written


def call_tool(proxy: Proxy) -> int:
    """Call a tool once; give the HTTP status."""
    call, headers = build_call("add", {"a": 1, "b": 2}, modern=True), build_modern_headers("add")
    with post(proxy.origin, call, headers) as connection:
        response = connection.getresponse()
        response.read()
        return response.status


def is_firing(prometheus: Service, name: str) -> bool:
    """Say whether Prometheus has a firing alert of this name."""
    alerts = prometheus.ask("/api/v1/alerts")["data"]["alerts"]
    return any(
        alert["labels"]["alertname"] == name and alert["state"] == "firing" for alert in alerts
    )


def is_held_back(alertmanager: Service, name: str) -> bool:
    """Say whether Alertmanager keeps an alert of this name to itself."""
    alerts: list[dict[str, Any]] = alertmanager.ask("/api/v2/alerts")
    return any(
        alert["labels"]["alertname"] == name and alert["status"]["inhibitedBy"] for alert in alerts
    )


def start_server(port: int) -> Any:
    """Run the MCP server, always at the same place."""
    return running([sys.executable, str(SERVERS / "sdk_server.py"), str(port)])


def wait_until_listening(server: Program, port: int) -> None:
    server.wait_until(lambda: is_listening(port), "listening")


@pytest.mark.timeout(150)
def test_somebody_hears_of_a_server_that_is_down_and_of_its_return(tmp_path: Path) -> None:
    port = find_free_port()
    with (
        run_proxy(f"http://127.0.0.1:{port}", name="cats") as proxy,
        run_hearer() as hearer,
        run_alertmanager(write_alertmanager(tmp_path, hearer.url), tmp_path / "a") as alertmanager,
    ):
        targets = {
            "mcp-proxy-exporter": proxy.admin.removeprefix("http://"),
            "alertmanager": alertmanager.address,
        }
        config = write_prometheus(tmp_path, targets)
        with run_prometheus(config, tmp_path / "p") as prometheus:
            with start_server(port) as server:
                wait_until_listening(server, port)
                assert call_tool(proxy) == 200
                assert wait_for(lambda: sees_upstream(prometheus), WAIT_SECONDS)
                assert not is_firing(prometheus, "MCPUpstreamDown")

            assert {call_tool(proxy) for _ in range(6)} == {502}
            assert wait_for(lambda: is_firing(prometheus, "MCPUpstreamDown"), WAIT_SECONDS)
            assert wait_for(lambda: "firing" in hearer.told("MCPUpstreamDown"), WAIT_SECONDS)
            check_that_the_rest_is_held_back(prometheus, alertmanager, hearer)

            with start_server(port) as server:
                wait_until_listening(server, port)
                assert call_tool(proxy) == 200
                assert wait_for(lambda: "resolved" in hearer.told("MCPUpstreamDown"), WAIT_SECONDS)
            assert not is_firing(prometheus, "MCPUpstreamDown")
            assert list_ailing_rules(prometheus) == []
            assert list_ailing_queries(prometheus) == []


def sees_upstream(prometheus: Service) -> bool:
    """Say whether Prometheus knows that the server answered."""
    found = prometheus.ask("/api/v1/query?query=mcp_upstream_up==1")["data"]["result"]
    return len(found) == 1


def check_that_the_rest_is_held_back(
    prometheus: Service, alertmanager: Service, hearer: Hearer
) -> None:
    """Nobody is told of failing requests, when their server is known to be down."""
    for name in ("MCPErrorRatioHigh", "MCPErrorBudgetBurn"):
        assert wait_for(partial(is_firing, prometheus, name), WAIT_SECONDS), name
        assert wait_for(partial(is_held_back, alertmanager, name), WAIT_SECONDS), name
        assert hearer.told(name) == []


def list_ailing_queries(prometheus: Service) -> list[str]:
    """List the queries of the runbooks that Prometheus cannot evaluate."""
    queries = [query for file in RUNBOOKS.glob("*.md") for query in list_queries(file)]
    assert queries
    return [
        query
        for query in queries
        if prometheus.ask(f"/api/v1/query?{urlencode({'query': query})}")["status"] != "success"
    ]


def list_ailing_rules(prometheus: Service) -> list[tuple[str, str]]:
    """List the rules that Prometheus could not evaluate, or did not yet."""
    groups = prometheus.ask("/api/v1/rules")["data"]["groups"]
    return [
        (rule["name"], rule.get("lastError", rule["health"]))
        for group in groups
        for rule in group["rules"]
        if rule["health"] != "ok"
    ]
