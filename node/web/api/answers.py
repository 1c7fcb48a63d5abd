"""HTTP answers of the API: rows in the form that was asked for, and problems (RFC 9457) with one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from node.core import tabular
from node.core.filters import BadFilter
from node.db.queries.pages import Page

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
FORMS = {"json": JSON, "csv": CSV, "parquet": PARQUET}
PROBLEM = "application/problem+json"


class Problem(Exception):
    """What ends a request; ``more`` goes into the answer."""

    def __init__(self, status: int, sentence: str, **more: str) -> None:
        super().__init__(sentence)
        self.status, self.more = status, more

    def answer(self) -> Response:
        title = HTTPStatus(self.status).phrase
        body = {"type": "about:blank", "title": title, "status": self.status, "detail": str(self)}
        return Response(json.dumps({**body, **self.more}), self.status, media_type=PROBLEM)


def bad(error: BadFilter) -> Problem:
    return Problem(400, str(error), filter=error.filter)


def form_of(request: Request, named: str) -> str:
    """A key of FORMS: by name, else by the Accept header (RFC 9110 section 12.5.1, without its weights)."""
    if named and named not in FORMS:
        raise bad(BadFilter("format", f"format: {named!r} is none of {', '.join(FORMS)}"))
    form = named or _accepted(request.headers.get("accept", "*/*"))
    if form == "parquet" and not tabular.has_parquet():
        raise Problem(406, tabular.NO_PARQUET)
    return form


def _accepted(header: str) -> str:
    wanted = [part.split(";")[0].strip().lower() for part in header.split(",")]
    for one in wanted:
        for form, media in FORMS.items():
            if one in (media, "*/*", media.split("/")[0] + "/*"):
                return form
    raise Problem(406, f"There is {', '.join(FORMS.values())}.")


def rows(page: Page, form: str, following: str | None) -> Response:
    """following: URL of the next page, where it is one."""
    headers = {"Cache-Control": "no-store"}
    if following:
        headers["Link"] = f'<{following}>; rel="next"'
    if page.next and form != "json":
        headers["Next-Cursor"] = page.next
    names = [column.name for column in page.columns]
    if form == "parquet":
        return Response(tabular.as_parquet(page.columns, page.rows), headers=headers, media_type=PARQUET)
    if form == "csv":
        return Response(tabular.as_csv(names, page.rows), headers=headers, media_type=CSV)
    body = {"rows": tabular.as_objects(names, page.rows), "cursor": page.next, "next": following}
    return plain(body, headers)


def plain(body: Mapping[str, Any], headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    text = json.dumps(body, ensure_ascii=False)
    return Response(text, status, headers=dict(headers or {}), media_type=JSON)
