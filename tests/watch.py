"""What tests of alerts share: the rules, promtool, and what Prometheus would have scraped."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support import Client

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "deploy/alerts/getsmart.yml"
API_UP, GATEWAY_UP = 'up{job="getsmart-api"}', 'up{job="getsmart-gateway"}'
_STEADY, _END = 30, 60  # minutes until the fault, and until the end
Scrape = dict[str, str]


@dataclass(frozen=True)
class Alert:
    """A rule as the file has it; `minutes` is its `for`."""

    name: str
    expr: str
    minutes: int
    severity: str
    annotations: dict[str, str]


def alerts() -> dict[str, Alert]:
    """Every alert by its name."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    return {rule["alert"]: _alert(rule) for rule in rules}


def _alert(rule: Mapping[str, Any]) -> Alert:
    minutes = re.fullmatch(r"(\d+)m", rule["for"])
    assert minutes, rule
    return Alert(rule["alert"], rule["expr"], int(minutes[1]), rule["labels"]["severity"], rule["annotations"])


def require(program: str) -> None:
    """Skip where a program of Debian's prometheus is not installed; fail where CI is set."""
    if shutil.which(program) is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {program} (Debian: prometheus)")


def promtool(*words: str | Path) -> str:
    """What promtool says. Fails the test when it objects."""
    require("promtool")
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def series(name: str, labels: Mapping[str, str]) -> str:
    """A series as PromQL writes it."""
    inner = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inner}}}"


def scrape(client: Client) -> Scrape:
    """What Prometheus keeps of one look at ops/metrics, which may fail."""
    answer = client.get("ops/metrics")
    if answer.status != 200:
        return {API_UP: "0"}
    families = text_string_to_metric_families(answer.text)
    samples = [sample for family in families for sample in family.samples]
    job = {"job": "getsmart-api"}
    return {API_UP: "1", **{series(one.name, {**one.labels, **job}): str(one.value) for one in samples}}


def gateway(
    *, active: int = 2, seconds: float = 0.05, per_minute: tuple[int, int] = (300, 0), says: str = ""
) -> Scrape:
    """HAProxy's exporter: namespaces that answer, an average, answers a minute that are 2xx and 5xx, a check's state.

    A value with a plus sign is a counter that grows by so much a minute.
    """
    check = {"proxy": "blue-1", "server": "blue-1"}
    return {
        GATEWAY_UP: "1",
        'haproxy_backend_active_servers{proxy="api"}': str(active),
        'haproxy_backend_queue_time_average_seconds{proxy="api"}': "0",
        'haproxy_backend_response_time_average_seconds{proxy="api"}': str(seconds),
        'haproxy_frontend_http_responses_total{proxy="public",code="2xx"}': f"+{per_minute[0]}",
        'haproxy_frontend_http_responses_total{proxy="public",code="5xx"}': f"+{per_minute[1]}",
        **{series("haproxy_server_check_status", {**check, "state": state}): str(int(state == (says or "L7OK")))
           for state in ("L7OK", "L7RSP", "L4CON")},
    }  # fmt: skip


def assert_fires(folder: Path, before: Scrape, after: Scrape, *expected: str) -> None:
    """Half an hour of `before` fires nothing; `after` fires exactly these, the first of them no sooner than it may.

    promtool evaluates the real rules every minute.
    """
    patience = alerts()[expected[0]].minutes if expected else 0
    tests = [_silent(_STEADY - 1)]
    if patience:
        tests.append(_silent(_STEADY + patience - 1, *expected[:1]))
    tests.append({
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{_END}m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)],
    })  # fmt: skip
    names = sorted({*before, *after})
    content = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": _values(before.get(name), after.get(name))} for name in names
                ],
                "promql_expr_test": tests,
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump(content))
    promtool("test", "rules", file)


def _silent(minute: int, *names: str) -> dict[str, Any]:
    """Nothing fires in that minute, or none of those names."""
    only = f',alertname=~"{"|".join(names)}"' if names else ""
    expr = f'count by (alertname) (ALERTS{{alertstate="firing"{only}}})'
    return {"expr": expr, "eval_time": f"{minute}m", "exp_samples": []}


def _values(before: str | None, after: str | None) -> str:
    """So many minutes of the one value and then of the other, in promtool's notation."""
    if before and after and before.startswith("+"):
        reached = int(before) * (_STEADY - 1)
        return f"0{before}x{_STEADY - 1} {reached + int(after)}{after}x{_END}"
    first = f"{before}x{_STEADY - 1}" if before is not None else f"_x{_STEADY}"
    return f"{first} {after}x{_END}" if after is not None else f"{first} _x{_END}"
