"""OpenAPI 3.1 of the API, made of the tables that parse the filters and name the columns."""

from __future__ import annotations

from typing import Any

from node import __version__
from node.core.filters import FILTERS, Filter
from node.core.tabular import Column
from node.db.queries import aggregate, pages
from node.db.queries.fields import Resource
from node.db.queries.resources import RESOURCES
from node.db.verdicts import VERDICTS
from node.web.api.answers import CSV, JSON, PARQUET, PROBLEM

Tree = dict[str, Any]
TYPES: dict[str, Tree] = {
    "text": {"type": "string"},
    "uid": {"type": "string", "pattern": "^[0-9.]*$"},
    "count": {"type": "integer"},
    "number": {"type": "number"},
    "truth": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
}
GIVEN: dict[str, Tree] = {
    "time": {"type": "string"},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
    "truth": {"type": "string", "enum": ["yes", "no", "true", "false", "1", "0"]},
    "text": {"type": "string", "maxLength": 128},
    "uid": {"type": "string", "pattern": "^[0-9.]{1,64}$"},
}
READER = {"type": "string", "pattern": "^[A-Za-z0-9._@-]{1,64}$", "description": "who says it; of a login itself"}
SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "lungnode tokens create; may be left out at a node that needs no login on its own machine",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-lungnode",
        "description": "of a login; a POST has X-CSRF-Token too",
    },
}
LIMIT = {"type": "integer", "minimum": 1, "maximum": pages.MOST, "default": pages.USUAL}


def document() -> Tree:
    paths: Tree = {}
    for name, resource in RESOURCES.items():
        paths[f"/api/v1/{name}"] = _both(name, resource.meaning, _parameters(resource), True)
    counted = [*_filters(aggregate.FILTERS), _by(), _form()]
    paths["/api/v1/aggregate"] = _both("aggregate", "counts and mean probabilities of results", counted, False)
    paths["/api/v1/analyses/{number}/verdict"] = {"parameters": [_number()], "post": _verdict()}
    paths["/api/v1/analyses/{number}/verdicts"] = {"parameters": [_number()], "get": _verdicts()}
    schemas = {name: _row(resource.columns) for name, resource in RESOURCES.items()}
    schemas["aggregate"] = {**_row(aggregate.columns(tuple(aggregate.GROUPS))), "required": ["count", "decided"]}
    return {
        "openapi": "3.1.0",
        "security": [{"token": []}, {"session": []}],
        "info": {
            "title": "lungnode",
            "version": __version__,
            "description": "Stored results of a node. Research use only, not for diagnosis.",
        },
        "paths": paths,
        "components": {"schemas": {**schemas, "verdict": _said(), "problem": _problem()}, "securitySchemes": SECURITY},
    }


def _parameters(resource: Resource) -> list[Tree]:
    known = list(pages.orders(resource))
    sort = _parameter(
        "sort", "order; - is descending", {"type": "string", "enum": known, "default": known[0]}, known[0]
    )
    cursor = _parameter("cursor", "of the page before", {"type": "string"}, None)
    return [*_filters(resource.filters), sort, _parameter("limit", "rows of a page", LIMIT, 100), cursor, _form()]


def _filters(names: tuple[str, ...]) -> list[Tree]:
    return [_filter(FILTERS[name]) for name in names]


def _filter(one: Filter) -> Tree:
    schema = {"type": "string", "enum": list(one.choices)} if one.choices else GIVEN[one.kind]
    example: Any = float(one.example) if one.kind == "share" else one.example
    return _parameter(one.name, one.meaning, schema, example)


def _parameter(name: str, meaning: str, schema: Tree, example: Any) -> Tree:
    found: Tree = {"name": name, "in": "query", "required": False, "description": meaning, "schema": schema}
    return found if example is None else {**found, "example": example}


def _form() -> Tree:
    return _parameter("format", "instead of Accept", {"type": "string", "enum": ["json", "csv", "parquet"]}, "csv")


def _by() -> Tree:
    usual = ",".join(aggregate.USUAL)
    return _parameter("by", f"of {', '.join(aggregate.GROUPS)}", {"type": "string", "default": usual}, usual)


def _number() -> Tree:
    return {"name": "number", "in": "path", "required": True, "schema": {"type": "integer"}, "example": 12}


def _both(name: str, meaning: str, parameters: list[Tree], paged: bool) -> Tree:
    """The same question by URL and by body."""
    body = {
        "type": "object",
        "additionalProperties": False,
        "properties": {one["name"]: one["schema"] for one in parameters},
    }
    example = {one["name"]: one["example"] for one in parameters[:2]}
    post = {"required": True, "content": {JSON: {"schema": body, "example": example}}}
    answers = _answers(name, paged)
    return {
        "get": {"operationId": f"get_{name}", "summary": meaning, "parameters": parameters, "responses": answers},
        "post": {
            "operationId": f"post_{name}", "summary": f"{meaning}; filters in the body", "requestBody": post,
            "responses": {**answers, **_wrong(413, 415)},
        },
    }  # fmt: skip


def _answers(name: str, paged: bool) -> Tree:
    rows = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    page: Tree = {"rows": rows, "cursor": {"type": ["string", "null"]}, "next": {"type": ["string", "null"]}}
    schema = {"type": "object", "required": ["rows", "cursor", "next"], "properties": page}
    binary = {"schema": {"type": "string", "contentMediaType": PARQUET}}
    content = {JSON: {"schema": schema}, CSV: {"schema": {"type": "string"}}, PARQUET: binary}
    found: Tree = {"description": "a page" if paged else "all groups", "content": content}
    if paged:
        found["headers"] = {"Link": {"description": "rel=next", "schema": {"type": "string"}}}
    return {"200": found, **_wrong(400, 406, 503)}


def _wrong(*codes: int) -> Tree:
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/problem"}}}
    return {str(code): {"description": "one sentence says why", "content": content} for code in (401, 403, *codes)}


def _row(columns: tuple[Column, ...]) -> Tree:
    properties: Tree = {}
    for one in columns:
        kind = TYPES[one.kind]
        schema = {**kind, "type": [kind["type"], "null"]} if one.optional else kind
        properties[one.name] = {**schema, "description": one.meaning, "examples": [one.example]}
    required = [one.name for one in columns]
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


def _verdict() -> Tree:
    body = {
        "type": "object",
        "required": ["verdict"],
        "additionalProperties": False,
        "properties": {
            "reader": READER,
            "verdict": {"type": "string", "enum": list(VERDICTS)},
            "comment": {"type": "string", "maxLength": 500},
        },
    }
    example = {"reader": "reader-7", "verdict": "disagree", "comment": "an old scar"}
    kept = {"description": "kept; what this reader said before of it is replaced",
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/verdict"}}}}  # fmt: skip
    return {
        "operationId": "post_verdict",
        "summary": "what a reader says of an analysis",
        "requestBody": {"required": True, "content": {JSON: {"schema": body, "example": example}}},
        "responses": {"201": kept, **_wrong(400, 404, 413, 415, 503)},
    }


def _verdicts() -> Tree:
    rows = {"type": "array", "items": {"$ref": "#/components/schemas/verdict"}}
    schema = {"type": "object", "required": ["rows"], "properties": {"rows": rows}}
    found = {"description": "oldest first", "content": {JSON: {"schema": schema}}}
    return {
        "operationId": "get_verdicts",
        "summary": "what readers said of an analysis",
        "responses": {"200": found, **_wrong(400, 404, 503)},
    }


def _said() -> Tree:
    words = {"verdict": {"type": "string", "enum": list(VERDICTS)}, "comment": {"type": "string"}}
    properties = {"reader": READER, **words, "at": TYPES["time"]}
    return {"type": "object", "required": list(properties), "properties": properties}


def _problem() -> Tree:
    text = {"type": "string"}
    properties = {"type": text, "title": text, "status": {"type": "integer"}, "detail": text, "filter": text}
    return {"type": "object", "required": ["title", "status", "detail"], "properties": properties}
