"""One film through a node that traces: what its processes send is one trace, without a word of the patient.

Ids, parents and collectors that are away are in tests/observe/test_traces.py.
"""

from __future__ import annotations

from tests.e2e.conftest import QUICK, assert_no_marker
from tests.films import Film, drawn, encoded, wrap
from tests.observe.collector import Collector
from tests.peers import Orthanc, wait_until
from tests.sending import store
from tests.served import LungnodeProcess

QUICKER = """
[analysis]
systems = ["cxnet"]
biomarkers = ""
indicators = []
"""


def test_a_film_is_one_trace_from_its_receipt_to_its_delivery(orthanc: Orthanc) -> None:
    with Collector() as collector:
        settings = f'{QUICK}{QUICKER}\n[tracing]\nendpoint = "{collector.endpoint}"\n'
        with LungnodeProcess(settings=settings, send_to=[orthanc.address]) as node:
            ds = wrap(Film(drawn(79), "traced"))
            assert store(node.dicom_port, [encoded(ds)]) == [0x0000]
            node.wait_settled([str(ds.StudyInstanceUID)])
            delivered = node.rows("SELECT count(*) AS n FROM deliveries WHERE state = 'delivered'")[0]["n"]
            spans = collector.spans
            wait_until(lambda: sum(s.name == "delivery" for s in spans) == delivered, 20, "deliveries are traced")
            wait_until(lambda: any(s.name == "analysis" for s in spans), 20, "the worker has sent its spans")
            assert not node.events("tracing.not_sent")
    assert len({span.trace_id for span in spans}) == 1
    names = [span.name for span in spans]
    for name in ("study", "receipt", "completeness", "queue", "analysis", "segment", "model.cxnet", "results"):
        assert names.count(name) == 1, (name, names)
    known = {span.span_id for span in spans}
    assert all(span.parent in known for span in spans if span.name != "study")
    starts = {span.name: span.began for span in spans}
    order = ["receipt", "completeness", "queue", "analysis", "model.cxnet", "results", "delivery"]
    assert sorted(order, key=lambda name: starts[name]) == order
    assert_no_marker(collector.raw.decode("latin-1"), "the spans")
    assert str(ds.StudyInstanceUID) not in collector.raw.decode("latin-1")
