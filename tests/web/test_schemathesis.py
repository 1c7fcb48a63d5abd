"""schemathesis asks what /api/v1/openapi.json describes, and what DICOMweb has instead of one: nothing ends in a 500.

Bounded: some dozens of requests for each operation, the same in each run. Every answer of the API is also one that its
document promises. Not covered: uploads (tests/dicomweb/test_store.py), who may ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from node.db.session import Database, sqlite_url
from node.web.api import openapi
from node.web.api.routes import Api
from node.web.dicomweb.service import PATHS
from node.web.server import Vitals, WebServer
from tests.admitted import everybody_here, now
from tests.bench import ledger
from tests.dicomweb.site import PREFIX, Site, site
from tests.films import Film, drawn, encoded, uid, wrap
from tests.peers import LOOPBACK

EACH = 12  # requests for an operation
BOUNDED = hypothesis.settings(
    max_examples=EACH,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
TEXTS = (  # query parameters, with any text
    "PatientName", "PatientID", "StudyDate", "StudyTime", "ModalitiesInStudy", "StudyInstanceUID", "00100010",
    "includefield", "limit", "offset", "fuzzymatching", "accept", "window", "viewport", "annotation", "quality",
)  # fmt: skip
KNOWN = {
    "study": uid("study", "asked"),
    "series": uid("series", "asked"),
    "instance": uid("instance", "asked"),
    "frames": "1",
    "place": "7FE00010",
}


@dataclass(frozen=True)
class Asked:
    document: dict[str, Any]
    url: str

    def operations(self) -> Iterator[Any]:
        schema = schemathesis.openapi.from_dict(self.document)
        for found in schema.get_all_operations():
            yield found.ok()

    def ask(self, operation: Any, checks: list[Any]) -> int:
        """How many requests were made."""
        made = 0

        @BOUNDED
        @hypothesis.given(case=operation.as_strategy())
        def every(case: Any) -> None:
            nonlocal made
            made += 1
            case.call_and_validate(base_url=self.url, checks=checks)

        every()
        return made


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    database = Database(sqlite_url(tmp_path_factory.mktemp("asked")), durable=False)
    ledger.fill(database, 240)
    web = WebServer(Vitals(list, dict), LOOPBACK, 0, Api(database, now).routes(), everybody_here(database))
    web.start()
    yield Asked(openapi.document(), f"http://{LOOPBACK}:{web.port}")
    web.stop()
    database.close()


@pytest.fixture(scope="module")
def dicomweb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("asked")) as running:
        running.keep(encoded(wrap(Film(drawn(6, 64), "asked"))))
        yield running


def described() -> dict[str, Any]:
    """What PS3.18 says in words of the paths that the service has, in the terms of OpenAPI."""
    paths: dict[str, Any] = {}
    for path in (PREFIX + path.replace(":path}", "}") for path in PATHS):
        named = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        parameters: list[dict[str, Any]] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "enum": [KNOWN[name], "1.2.3", "x"]},
            }
            for name in named
        ]
        parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in TEXTS]
        parameters.append({"name": "Accept", "in": "header", "schema": {"type": "string"}})
        paths[path] = {"get": {"parameters": parameters, "responses": {"default": {"description": "any"}}}}
    return {"openapi": "3.1.0", "info": {"title": "DICOMweb", "version": "1"}, "paths": paths}


def test_the_api_keeps_what_its_document_promises(api: Asked) -> None:
    made = [
        api.ask(operation, [not_a_server_error, status_code_conformance, response_schema_conformance])
        for operation in api.operations()
    ]
    described = [path for path, known in api.document["paths"].items() for _ in known.keys() & {"get", "post"}]
    assert len(made) == len(described) and min(made) > 0


def test_dicomweb_never_ends_in_an_error_of_its_own(dicomweb: Site) -> None:
    asked = Asked(described(), dicomweb.url.removesuffix(PREFIX))
    made = [asked.ask(operation, [not_a_server_error]) for operation in asked.operations()]
    assert len(made) == len(PATHS) and sum(made) > 10 * len(PATHS)


def test_an_error_of_its_own_would_be_found(dicomweb: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.web.dicomweb.rendered.thumbnail", lambda wish: 1 / 0)
    asked = Asked(described(), dicomweb.url.removesuffix(PREFIX))
    (operation,) = (one for one in asked.operations() if one.path == f"{PREFIX}/studies/{{study}}/thumbnail")
    with pytest.raises(FailureGroup):
        asked.ask(operation, [not_a_server_error])
