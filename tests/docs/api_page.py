"""Writes docs/api.md from the API's own OpenAPI, so that the page cannot differ from what is parsed and answered.

Run as ``python -m tests.docs.api_page``; a test compares its output with the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from node.db.queries import aggregate
from node.db.queries.resources import RESOURCES
from node.web.api import openapi

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
HEAD = """\
# HTTP API

Written from `/api/v1/openapi.json` (OpenAPI 3.1) by `python -m tests.docs.api_page`. Research use only, not for
diagnosis.

    curl 'http://127.0.0.1:8080/api/v1/results?class=covid19&min_probability=0.9&since=2026-01-01'
    curl -H 'Accept: text/csv' 'http://127.0.0.1:8080/api/v1/deliveries?delivered=no'
    curl --json '{"patient_id": "P-1001", "issuer": "HOSPITAL"}' http://127.0.0.1:8080/api/v1/analyses
    curl 'http://127.0.0.1:8080/api/v1/aggregate?by=day,system,version&since=2026-01-01'
    curl --json '{"reader": "reader-7", "verdict": "disagree"}' http://127.0.0.1:8080/api/v1/analyses/12/verdict

- Every page is asked for by GET or, so that a Patient ID stands in no URL and no log of a proxy, by POST with the
  same parameters as a JSON object. `lungnode query` has the same filters as flags (`--min-probability`,
  `--calling-aet`, ...).
- `next` in the answer (and the header `Link`) is the next page; after a POST send the body again with `cursor`. A
  page begins after the last row of the one before, so rows that come in between are never a reason to see another
  one twice or not at all.
- JSON, CSV (`text/csv`; cells that a spreadsheet would run begin with an apostrophe) and Parquet
  (`application/vnd.apache.parquet`, with the extra `lungnode[parquet]`), by `Accept` or `format`.
- What cannot be asked is answered by 400 with one sentence that names the filter (`application/problem+json`, RFC
  9457).
- Results of superseded analyses are left out unless `superseded=yes`.
- A verdict replaces what the same reader said of the same analysis before. Its comment is refused where it holds
  the patient's name, birth date, Patient ID or the Accession Number, as far as the node knows them; keep others out
  yourself.
- Nothing here asks who you are. The port is open to this machine alone (`node.http_host`); what lets others in has
  to know them.
- Times are UTC. `aggregate` reads every result that the filters leave: give it a range of time.
"""


def page() -> str:
    document = openapi.document()
    return "".join((HEAD, *_resources(document)))


def _resources(document: dict[str, Any]) -> Iterator[str]:
    for name in (*RESOURCES, "aggregate"):
        get = document["paths"][f"/api/v1/{name}"]["get"]
        yield f"\n## /api/v1/{name}\n\n{get['summary'][0].upper()}{get['summary'][1:]}.\n"
        yield "\n| parameter | what may be given | meaning |\n|---|---|---|\n"
        for one in get["parameters"]:
            yield f"| `{one['name']}` | {_values(one)} | {one['description']} |\n"
        columns = RESOURCES[name].columns if name in RESOURCES else aggregate.columns(tuple(aggregate.GROUPS))
        yield "\n| column | type | meaning |\n|---|---|---|\n"
        for column in columns:
            empty = ", may be empty" if column.optional else ""
            yield f"| `{column.name}` | {column.kind}{empty} | {column.meaning} |\n"


def _values(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    return f"for example `{parameter['example']}`" if "example" in parameter else "text"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
