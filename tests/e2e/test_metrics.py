"""The metrics of a node after one film went through: each stage and system, the delivery, in numbers that fit together.

What the database holds of metrics, and drift, are in tests/observe/test_metrics.py.
"""

from __future__ import annotations

import re

from tests.e2e.conftest import assert_no_marker
from tests.films import Film, drawn, encoded, wrap
from tests.observe.scrapes import Scrape
from tests.peers import Orthanc
from tests.sending import store
from tests.served import LungnodeProcess


def test_a_film_is_seen_in_every_metric_that_it_touches(node: LungnodeProcess, orthanc: Orthanc) -> None:
    before = Scrape.of(node.http("/metrics")[1])
    ds = wrap(Film(drawn(77), "metrics"))
    assert store(node.dicom_port, [encoded(ds)]) == [0x0000]
    assert store(node.dicom_port, [encoded(wrap(Film(drawn(78), "metrics")))]) == [0x0111]  # other bytes, the same UID
    node.wait_settled([str(ds.StudyInstanceUID)])
    text = node.http("/metrics")[1]
    after = Scrape.of(text)
    assert_no_marker(text, "the metrics")
    assert not re.search(r"\d+\.\d+\.\d+\.\d+\.\d+\.\d+", text), "a UID is no label"

    def grown(name: str, **labels: str) -> float:
        return after.at(name, **labels) - before.values.get((name, frozenset(labels.items())), 0)

    assert grown("lungnode_studies_received_total") == grown("lungnode_analysis_seconds_count") == 1
    assert grown("lungnode_instances_refused_total", reason="duplicate_instance") == 1
    seconds = node.rows("SELECT stage_seconds FROM analyses ORDER BY id DESC LIMIT 1")[0]["stage_seconds"]
    assert "model.cxnet" in seconds
    systems = {dict(labels)["system"] for labels in after.named("lungnode_stage_seconds_count")} - {""}
    assert systems >= set(re.findall(r'"model\.([^"]+)"', seconds)), "as the analysis itself has them, others too"
    for stage in ("select", "load", "segment", "build", "write"):
        assert grown("lungnode_stage_seconds_count", stage=stage, system="") == 1
    delivered = node.rows("SELECT count(*) AS n FROM deliveries WHERE state = 'delivered'")[0]["n"]
    to = {"destination": orthanc.address}
    assert after.at("lungnode_delivery_attempts_total", **to, outcome="delivered") == delivered
    assert after.at("lungnode_delivery_seconds_count", **to) == delivered
    assert after.at("lungnode_processes", kind="worker") == 1 and after["lungnode_ready"] == 1
