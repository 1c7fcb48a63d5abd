"""The service as a whole: capabilities, origins of other pages, its path, its absence.

Not covered: who may ask, which stands before the service.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from node.core import settings
from node.core.errors import Misconfigured
from node.web.dicomweb.capabilities import NAMESPACE
from node.web.dicomweb.service import PATHS
from tests.dicomweb.site import Site, site


def test_the_capabilities_name_every_path(web: Site) -> None:
    answered = web.ask("OPTIONS", "/", {})
    assert answered.status == 200 and answered.headers["content-type"].startswith("application/vnd.sun.wadl+xml")
    root = ElementTree.fromstring(answered.body)
    named = {resource.get("path") for resource in root.iter(f"{{{NAMESPACE}}}resource")}
    assert named == {path.lstrip("/").replace(":path}", "}") for path in PATHS}
    stores = [one.get("name") for one in root.iter(f"{{{NAMESPACE}}}method") if one.get("name") == "POST"]
    assert len(stores) == 2


def test_pages_of_other_origins_may_ask_where_the_settings_say(web: Site, tmp_path: Path) -> None:
    ours, other = "https://viewer.example.org", "https://else.example.org"
    with site(tmp_path, {("dicomweb", "cors_origins"): [ours]}) as open_to_one:
        assert open_to_one.get("/studies", Origin=ours).headers["access-control-allow-origin"] == ours
        assert "access-control-allow-origin" not in open_to_one.get("/studies", Origin=other).headers
        asked = {"Origin": ours, "Access-Control-Request-Method": "POST"}
        assert open_to_one.ask("OPTIONS", "/studies", asked).status == 200
    assert "access-control-allow-origin" not in web.get("/studies", Origin=ours).headers


def test_no_service_and_another_path(tmp_path: Path) -> None:
    with site(tmp_path / "none", {("dicomweb", "serve"): False}) as without:
        assert without.get("/studies").status == 404
    with site(tmp_path / "moved", {("dicomweb", "prefix"): "/pacs/rs"}) as moved:
        assert moved.get("/studies").status == 404


@pytest.mark.parametrize(
    "key, value",
    [
        ("prefix", "dicom-web"),
        ("prefix", "/a b"),
        ("public_url", "ftp://host"),
        ("cors_origins", ["https://host/path"]),
        ("most_upload_bytes", 0),
        ("silent_seconds", 0.0),
    ],
)
def test_settings_that_cannot_be(key: str, value: object) -> None:
    with pytest.raises(Misconfigured):
        settings.load(flags={("dicomweb", key): value})


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_nothing_is_changed_or_removed(web: Site, method: str) -> None:
    assert web.ask(method, "/studies/1.2.3", {}).status == 405
