from pathlib import Path
from typing import Any

import yaml

from tests.grafana.files import DASHBOARDS

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "grafana" / "provisioning"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def list_sources() -> dict[str, Any]:
    file = load(PROVISIONING / "datasources" / "prometheus.yml")
    assert file["apiVersion"] == 1
    return {source["uid"]: source for source in file["datasources"]}


def test_data_sources_are_those_of_the_stack() -> None:
    sources = list_sources()
    assert {uid: source["url"] for uid, source in sources.items()} == {
        "prometheus": "http://prometheus:9090",
        "alertmanager": "http://alertmanager:9093",
    }
    assert sources["prometheus"]["isDefault"]
    assert sources["alertmanager"]["jsonData"]["implementation"] == "prometheus"


def test_shortest_window_of_a_rate_fits_how_often_prometheus_scrapes() -> None:
    scrapes = load(ROOT / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    assert list_sources()["prometheus"]["jsonData"]["timeInterval"] == scrapes


def test_no_data_source_leads_to_one_that_is_not_there() -> None:
    text = (PROVISIONING / "datasources" / "prometheus.yml").read_text()
    active = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert "datasourceUid" not in active
    # What the comment shows is right where it stands, once there is somewhere to lead to.
    source = text.replace("      # exemplar", "      exemplar").replace("      #   ", "        ")
    shown = yaml.safe_load(source)["datasources"][0]["jsonData"]["exemplarTraceIdDestinations"]
    assert shown == [{"name": "trace_id", "datasourceUid": "YOUR-TRACES"}]


def test_boards_come_from_files_and_cannot_be_edited_away() -> None:
    [provider] = load(PROVISIONING / "dashboards" / "mcp.yml")["providers"]
    assert provider["type"] == "file"
    assert provider["folder"] == "MCP"
    assert provider["allowUiUpdates"] is False
    assert provider["options"] == {"path": "/var/lib/grafana/dashboards"}


def test_folder_that_grafana_reads_holds_boards_only() -> None:
    assert {path.suffix for path in DASHBOARDS.iterdir()} == {".json"}
