"""Writes docs/metrics.md from the table of metrics that the node serves, so that none can be forgotten.

Run as ``python -m tests.docs.metrics_page``; a test compares its output with the page.
"""

from __future__ import annotations

from pathlib import Path

from node.db.tallies import BOUNDS
from node.web.metrics import METRICS, REASONS

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
HEAD = """\
# Metrics

Written by `python -m tests.docs.metrics_page` from `node/web/metrics.py`. Research use only, not for diagnosis.

`GET /metrics` in the text format of Prometheus. No label names a patient or a study. Alarms, a Prometheus and a Grafana
configuration lie under [docker/](../docker); [operations.md](operations.md#alarms) says what to do about each alarm.

| metric | kind | labels | meaning |
|---|---|---|---|
"""
TAIL = """
## Where the numbers come from

- **Stored counts.** Refusals, attempts and durations are counted in the transaction that they tell of (table
  `tallies`), by whatever process; so they are true over all processes, kills and restarts, and begin with the upgrade
  that brought them. A counter never falls. `lungnode_instances_stored_total` and `lungnode_studies_received_total` are
  the numbers of the newest rows.
- **This run.** Rejections, open associations, processes and their deaths begin at 0 with each start.
- **Several nodes** on one database (docs/cluster.md) all tell the same of it: do not add them up. What is of this run,
  and the disks, are each node's own.
- **Buckets** are seconds, {buckets}. A quantile
  of a histogram is no better than the bucket that it falls into.
- **Reasons** of a refusal by the status that the sender got: {reasons}; any other is `other`.
- **Drift.** The three `lungnode_recent_*` are over analyses of the last 24 hours that stand (superseded ones are not in
  them). A change may be one of the patients, of a modality or of its settings as well as of a model: they say where to
  look, with `/api/v1/aggregate`, and no more. With fewer than 50 results no alarm rings.
- **Cost.** A scrape reads what is unfinished and one row for each bucket, not what was ever done; the newest day is
  read by a duty four times a minute, the sizes of all objects every ten minutes. `python -m tests.bench.queries`
  measures it with 1,000,000 findings.

## Traces

With `[tracing] endpoint` and the extra `lungnode[tracing]` each study is one trace (OTLP over HTTP); see
[operations.md](operations.md#traces).
"""


def page() -> str:
    rows = (
        f"| `{one.full_name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.meaning} |\n"
        for one in METRICS
    )
    reasons = ", ".join(f"`{reason}` ({status})" for status, reason in REASONS.items())
    buckets = ", ".join(f"{bound:g}" for bound in BOUNDS)
    return "".join((HEAD, *rows, TAIL.format(buckets=buckets, reasons=reasons)))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
