"""The rules, what they are about and what they lead to: promtool takes them, every name in them exists."""

import json
import re
from pathlib import Path

import pytest
import yaml

import dodo
from ops.gateway.environment import Gateway
from tests.support import Client
from tests.watch import RULES, alerts, promtool, scrape

ALERTS = alerts()
HAPROXYS = {
    "haproxy_backend_active_servers",
    "haproxy_backend_queue_time_average_seconds",
    "haproxy_backend_response_time_average_seconds",
    "haproxy_frontend_http_responses_total",
    "haproxy_server_check_status",
}


def metrics_in(text: str) -> set[str]:
    """The names of metrics in an expression."""
    return set(re.findall(r"\b(?:getsmart|haproxy)_[a-z_0-9]+", text)) - {"getsmart_api", "getsmart_gateway"}


def test_promtool_takes_rules_and_configuration(repository: Path, tmp_path: Path) -> None:
    """As a Prometheus would at its start."""
    assert "SUCCESS" in promtool("check", "rules", RULES)
    promtool("check", "config", "--syntax-only", repository / "deploy/alerts/prometheus.example.yml")


def test_a_rule_that_is_none_is_refused(tmp_path: Path) -> None:
    """The check would notice."""
    broken = tmp_path / "broken.yml"
    broken.write_text(RULES.read_text().replace("> 180", "> > 180"))
    with pytest.raises(AssertionError, match="could not parse expression"):
        promtool("check", "rules", broken)


def test_the_configuration_scrapes_what_the_rules_are_about(repository: Path) -> None:
    """The jobs that the rules name, and the rules' file."""
    configured = yaml.safe_load((repository / "deploy/alerts/prometheus.example.yml").read_text())
    jobs = {job["job_name"] for job in configured["scrape_configs"]}
    assert jobs == set(re.findall(r'job="([^"]+)"', RULES.read_text()))
    assert configured["rule_files"] == [RULES.name]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in configured["scrape_configs"]}
    port = Gateway.model_fields["internal"].default.rpartition(":")[2]
    assert targets["getsmart-gateway"] == [f"<gateway.internal:{port}>"]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_leads_to_its_runbook(repository: Path, name: str) -> None:
    """It has a severity and a sentence, and its runbook begins with a command that there is."""
    alert = ALERTS[name]
    assert alert.severity in ("critical", "warning")
    assert alert.annotations["summary"].endswith(".")
    assert alert.annotations["runbook_url"] == f"docs/runbooks/{name}.md"
    page = (repository / alert.annotations["runbook_url"]).read_text()
    found = re.match(rf"# {name}\n\n```sh\n(\S[^\n]+)\n```\n\n\*\*What it means\.\*\* ", page)
    assert found, page[:200]
    assert "**What to look at.**" in page
    assert "**How to end it.**" in page
    tasks = re.findall(r"\./doit ([a-z]+)", page)
    assert [task for task in tasks if not hasattr(dodo, f"task_{task}")] == []
    assert found[1].startswith(("./doit ", "curl -s "))


def test_every_page_named_for_an_alert_has_one(repository: Path) -> None:
    """No runbook outlives its alert."""
    pages = {path.stem for path in (repository / "docs/runbooks").glob("[A-Z]*.md")}
    assert pages == set(ALERTS)


def test_every_metric_in_rules_and_dashboard_exists(repository: Path, app: Client) -> None:
    """Those of ours in what ops/metrics says, the gateway's among those that its exporter is known to have."""
    dashboard = json.loads((repository / "deploy/dashboards/getsmart.json").read_text())
    told = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    used = metrics_in(RULES.read_text()) | metrics_in(told)
    named = {line.split()[2] for line in app.get("ops/metrics").text.splitlines() if line.startswith("# TYPE")}
    assert {name for name in used if name.startswith("haproxy_")} == HAPROXYS
    assert {name for name in used if name.startswith("getsmart_")} <= named
    assert scrape(app)


def test_the_dashboard_can_be_drawn(repository: Path) -> None:
    """Each panel has a title, a place of its own, and a query of the data source that is chosen."""
    dashboard = json.loads((repository / "deploy/dashboards/getsmart.json").read_text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(places) == len(set(places)) >= 10
    assert all(panel["title"] and panel["targets"] for panel in dashboard["panels"])
    sources = {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel["targets"]}
    assert sources == {"${datasource}"}
