"""All routes of a node that is put together as ``lungnode serve`` does, and the right that each names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from node.app import Supervisor
from node.core import settings
from node.folders import Folders
from node.web import server
from node.web.auth.needs import Needs
from node.web.server import application

FLAGS = {
    ("node", "dicom_host"): "127.0.0.1",
    ("node", "dicom_port"): 0,
    ("node", "http_port"): 0,
    ("oidc", "issuer"): "https://provider.example",
    ("oidc", "client_id"): "lungnode",
    ("oidc", "redirect_url"): "https://lungnode.example/login/oidc/callback",
}


@dataclass(frozen=True)
class Declared:
    """needed: None where a route names nothing and would be open."""

    path: str
    methods: tuple[str, ...]
    needed: str | None


def of_a_node(folder: Path) -> list[Declared]:
    """viewer: a stand-in is installed, so that its routes are there too."""
    viewer = folder / "viewer"
    viewer.mkdir(parents=True)
    (viewer / "index.html").write_text("<html></html>")
    folders = Folders(folder / "data")
    folders.make()
    made: list[Starlette] = []

    def kept(*given: Any) -> Starlette:
        made.append(application(*given))
        return made[-1]

    with mock.patch.object(server, "application", kept):
        supervisor = Supervisor(settings.load(flags={**FLAGS, ("dicomweb", "viewer_folder"): str(viewer)}), folders)
    for door in supervisor._doors.values():
        door.close()
    supervisor._database.close()
    return list(declared(made[-1].routes))


def declared(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[Declared]:
    for route in routes:
        assert isinstance(route, (Route, Mount)), route
        needed = route.app.needed if isinstance(route.app, Needs) else None
        path = prefix + route.path
        if isinstance(route, Mount) and needed is None and route.routes:
            yield from declared(route.routes, path)
        else:
            methods = sorted(route.methods or ()) if isinstance(route, Route) else ["any"]
            yield Declared(path, tuple(method for method in methods if method != "HEAD"), needed)
