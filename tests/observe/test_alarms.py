"""Alarms and dashboard: Prometheus itself checks the rules and plays their tests; every metric they name is served.

Not covered: Grafana, which is not in Debian; its dashboard is checked for what it asks and where it lies. Whether the
limits suit a hospital is for its operators to say.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from node.web.metrics import METRICS
from tests.peers import program, run

ROOT = Path(__file__).parents[2]
PROMETHEUS, GRAFANA = ROOT / "docker" / "prometheus", ROOT / "docker" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "lungnode.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
PARTS = {"histogram": ("_bucket", "_sum", "_count")}
SERVED = {one.full_name + part: one for one in METRICS for part in PARTS.get(one.kind, ("",))}
BY_THE_SERVER = {"instance", "job", "le"}  # labels that Prometheus adds


def asked() -> list[str]:
    """Every question to Prometheus, of alarms and dashboard."""
    found = [rule["expr"] for rule in RULES]
    return found + [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    for command in (("check", "config", PROMETHEUS / "prometheus.yml"), ("check", "rules", PROMETHEUS / "alerts.yml")):
        ran = run([program("promtool"), *map(str, command)])
        assert ran.code == 0, ran.text


def test_each_alarm_rings_when_it_should_and_is_quiet_on_an_ordinary_day() -> None:
    ran = run([program("promtool"), "test", "rules", str(PROMETHEUS / "alerts.test.yml")])
    assert ran.code == 0, ran.text
    tests = yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text(encoding="utf-8"))["tests"]
    ring = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    quiet = {one["alertname"] for one in tests[0]["alert_rule_test"] if not one.get("exp_alerts")}
    assert ring == quiet == {rule["alert"] for rule in RULES}


def test_every_metric_and_label_that_is_asked_for_is_served() -> None:
    for question in asked():
        named = re.findall(r"lungnode_\w+", question)
        assert named or "up{" in question, question
        assert set(named) <= set(SERVED), question
        known = {label for name in named for label in SERVED[name].labels} | BY_THE_SERVER
        used = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", question)
        used += [word for by in re.findall(r"by \(([^)]*)\)", question) for word in re.split(r",\s*", by)]
        assert set(used) <= known, question


def test_every_metric_is_on_the_dashboard() -> None:
    text = json.dumps(DASHBOARD)
    hidden = [one.name for one in METRICS if one.name not in text and one.kind != "info"]
    assert hidden == []


def test_every_alarm_says_what_it_is_and_what_mends_it() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"].endswith(".")
        line = re.search(rf"^\| `{rule['alert']}` \|.*\|$", operations, re.M)
        assert line and len(line[0].split("|")) == 5 and "`" in line[0].split("|")[3], rule["alert"]


def test_grafana_finds_its_data_and_its_dashboard() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/lungnode.yml").read_text())["providers"]
    assert provider["options"]["path"].endswith("dashboards")
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
