"""OHIF in a real browser with the node as its only source: films, CT, several frames, results; and what guards it.

The studies are those of tests/viewers, where more of what OHIF shows is looked at, from Orthanc. Not covered: other
browsers, other versions of the viewer.
"""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, sync_playwright
from pydicom import Dataset

from node.results.build import build
from node.results.record import BuiltObject
from tests.dicomweb.site import Site, as_file, site
from tests.peers import LOOPBACK, Absent
from tests.viewers.ohif import FOLDER
from tests.viewers.phantoms import FILM_FOCI, FILM_SHAPE, KEY, SLICE_FOCI, ct_study, enhanced_study, film_study, wanting
from tests.viewers.screen import Screen, chromium
from tests.viewers.test_ohif import FILM, HEAT, REGIONS, SCAN, SEGMENTATION, at_the_foci, colourful


@dataclass(frozen=True)
class Ours:
    """The viewer as the node serves it."""

    web: Site

    @property
    def origin(self) -> str:
        return f"http://{LOOPBACK}:{self.web.port}"

    def address(self, study_uid: str) -> str:
        return f"{self.origin}/viewer/viewer?StudyInstanceUIDs={study_uid}"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    if not (FOLDER / "dist" / "index.html").is_file():
        raise Absent("OHIF is not installed: npm package @ohif/app (tests/install_peers.sh)")
    folder = tmp_path_factory.mktemp("viewer")
    with site(folder, {("dicomweb", "viewer_folder"): str(FOLDER / "dist")}) as running:
        yield Ours(running)


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        running = chromium(playwright)
        yield running.new_context(viewport={"width": 1280, "height": 860})
        running.close()


@pytest.fixture
def screen(ours: Ours, browser: BrowserContext) -> Iterator[Screen]:
    page = browser.new_page()
    yield Screen(page, ours)  # type: ignore[arg-type]
    page.close()


def keep(ours: Ours, sources: Iterable[Dataset], results: Iterable[BuiltObject] = ()) -> str:
    """By STOW-RS; the study's UID."""
    sources = list(sources)
    answered = ours.web.post([*(as_file(ds) for ds in sources), *(one.content for one in results)])
    assert answered.status == 200, answered.text
    return str(sources[0].StudyInstanceUID)


def test_a_film_its_heat_and_its_regions(ours: Ours, screen: Screen) -> None:
    film, made = film_study("node film")
    uid = keep(ours, [film], build(wanting(made, "summary", "regions", "heat-maps")))
    screen.open(uid, FILM)
    rows, columns = FILM_SHAPE
    places = [(float(x), float(y)) for x in range(20, columns, 60) for y in range(20, rows, 60)]
    pixels = made.images[0].image.pixels
    expected = [pixels[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].mean() for x, y in places]
    assert np.corrcoef([colour[0] for colour in screen.colours(places)], expected)[0, 1] > 0.98
    screen.show(HEAT)
    assert all(map(colourful, screen.colours([(x + 0.6 * r, y + 0.6 * r) for x, y, r in FILM_FOCI])))
    screen.show(REGIONS)
    assert at_the_foci(screen, FILM_FOCI)
    assert screen.errors == []
    screen.picture("node-film")


def test_a_ct_and_its_segmentation(ours: Ours, screen: Screen) -> None:
    slices, made = ct_study("node ct")
    uid = keep(ours, slices, build(wanting(made, "regions", "segmentations")))
    screen.open(uid, SCAN)
    screen.go_to(str(slices[KEY].SOPInstanceUID))
    (x, y, _), *_ = SLICE_FOCI
    (inside,), (outside,) = screen.colours([(x, y)]), screen.colours([(x - 20, y)])
    assert inside[0] > outside[0], "the focus is denser than the lung"
    screen.show(SEGMENTATION)
    assert screen.errors == []


def test_several_frames(ours: Ours, screen: Screen) -> None:
    whole, _ = enhanced_study("node enhanced")
    screen.open(keep(ours, [whole]), SCAN)
    screen.go_to(f"/frames/{KEY + 1}")
    assert f"/frames/{KEY + 1}" in screen.current_image and screen.errors == []


def test_the_list_of_studies(ours: Ours, screen: Screen) -> None:
    film, _ = film_study("node list", StudyDescription="Listed by the node")
    keep(ours, [film])
    screen.page.goto(f"{ours.origin}/viewer/")
    screen.page.get_by_text(str(film.StudyDescription)).first.wait_for()
    assert screen.errors == []


def test_it_asks_nobody_else(ours: Ours, screen: Screen) -> None:
    film, _ = film_study("node alone")
    asked: set[str] = set()
    screen.page.on("request", lambda request: asked.add(request.url.split("/")[2]))
    screen.open(keep(ours, [film]), FILM)
    hosts = {host for host in asked if host}
    assert hosts == {f"{LOOPBACK}:{ours.web.port}"} and screen.errors == []


@pytest.mark.parametrize("path", ["", "viewer?StudyInstanceUIDs=1.2", "app-config.js", "manifest.json"])
def test_every_answer_is_guarded(ours: Ours, path: str) -> None:
    with urllib.request.urlopen(f"{ours.origin}/viewer/{path}", timeout=10) as answer:
        headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
    policy = headers["Content-Security-Policy"]
    assert "unsafe-inline" not in policy.partition("style-src")[0] and "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", ["../../pyproject.toml", "%2e%2e/%2e%2e/package.json", "/etc/passwd"])
def test_nothing_outside_its_folder_is_served(ours: Ours, path: str) -> None:
    connection = http.client.HTTPConnection(LOOPBACK, ours.web.port, timeout=10)
    connection.request("GET", f"/viewer/{path}")
    assert connection.getresponse().status == 404
    connection.close()


def test_without_it_a_sentence_says_so(tmp_path: Path) -> None:
    with site(tmp_path, {("dicomweb", "viewer_folder"): str(tmp_path / "nothing")}) as web:
        for path in ("/viewer", "/viewer/viewer?StudyInstanceUIDs=1.2"):
            connection = http.client.HTTPConnection(LOOPBACK, web.port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 404 and b"not installed" in answer.read()
            connection.close()
