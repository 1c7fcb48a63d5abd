"""A person at the pages of a running node, in a real browser: uploads a film, follows it, reads its result, by mouse
and by keyboard; what the canvas shows beside what the standard says; barriers that axe-core finds.

Films and slices are drawn. Not covered: other browsers, screen readers, what axe-core cannot see (about half of WCAG),
words over pictures. Screenshots are kept in artefacts/pages.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from node.pipeline import shown
from node.pipeline.shown import Window
from tests.e2e.reading import probabilities
from tests.films import Film, Identity, drawn, wrap
from tests.peers import LOOPBACK, Absent, Orthanc, storescu, wait_until
from tests.pipeline.slices import Scan, scan, thorax
from tests.served import LungnodeProcess

AXE = Path(__file__).parents[2] / ".peers" / "axe-core" / "axe.min.js"
PICTURES = Path(__file__).parents[2] / "artefacts" / "pages"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
SECONDS = 90_000
ANNA = Identity(patient_name="Beispiel^Anna", patient_id="PAGES-1")
SHOWN = "[data-shown]"
VIEWER = "document.querySelector('[data-viewer]').viewer"
Open = Callable[..., Page]


@pytest.fixture
def open_page(node: LungnodeProcess, browser: Browser) -> Iterator[Open]:
    """A page of the node; the test fails where a script did."""
    contexts, wrong = [], list[str]()

    def opened(path: str, **options: object) -> Page:
        context = browser.new_context(viewport={"width": 1366, "height": 860}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if _is_error(said) else None)
        page.goto(f"http://{LOOPBACK}:{node.http_port}{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def _is_error(said: ConsoleMessage) -> bool:
    return said.type == "error" and "status of 404" not in said.text


@pytest.fixture(scope="module")
def film(node: LungnodeProcess) -> Path:
    return _saved(node, wrap(Film(drawn(7, 640), "pages film", identity=ANNA)), "film.dcm")


@pytest.fixture(scope="module")
def analysed(node: LungnodeProcess, film: Path) -> str:
    """The film's study, with its result. Sent by C-STORE where it was not uploaded before."""
    study = str(dcmread(film, stop_before_pixels=True).StudyInstanceUID)
    assert storescu(node.dicom_port, [film]).code == 0
    node.wait_settled([study])
    return study


@pytest.fixture(scope="module")
def stack(node: LungnodeProcess) -> str:
    """A CT series of 9 slices."""
    what = Scan("pages stack", voxels=thorax(9, 128), identity=ANNA)
    files = [_saved(node, ds, f"slice{n}.dcm") for n, ds in enumerate(scan(what))]
    assert storescu(node.dicom_port, files).code == 0
    node.wait_settled([what.study_uid])
    return what.study_uid


def _saved(node: LungnodeProcess, ds: Dataset, name: str) -> Path:
    path = node.folder / name
    ds.save_as(path, enforce_file_format=True)
    return path


def kept(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")


def test_a_person_uploads_a_film_and_reads_the_numbers_of_its_report(
    node: LungnodeProcess, open_page: Open, film: Path, tmp_path: Path
) -> None:
    study = str(dcmread(film, stop_before_pixels=True).StudyInstanceUID)
    other = tmp_path / "letter.txt"
    other.write_text("no image")
    page = open_page("/upload")
    page.set_input_files("#files", [film, other])
    line = page.locator("#studies li")
    expect(line).to_contain_text(re.compile("Analysed"), timeout=SECONDS)
    expect(page.locator("#refused")).to_contain_text("cannot be understood as DICOM")
    kept(page, "upload")
    page.click("#studies a")
    expect(page.locator("h1")).to_have_text("Beispiel, Anna")
    expect(page.locator("#viewer-line")).to_contain_text("heat of", timeout=SECONDS)
    kept(page, "study")
    read = page.locator(".results .scores .probability").all_inner_texts()
    with page.expect_download() as download:
        page.get_by_role("link", name="Report", exact=True).first.click()
    report = dcmread(io.BytesIO(download.value.path().read_bytes()))
    stated = [f"{probability:.3f}" for _, _, probability in probabilities(report)]
    assert report.StudyInstanceUID == study and len(read) >= 11
    assert sorted(read) == sorted(stated)
    assert node.rows("SELECT 1 FROM audit_events WHERE kind = 'view' AND study_uid = ?", study)
    assert "Beispiel" not in node.logged() and "Anna" not in node.logged()


def test_states_are_seen_to_change_without_a_new_page(node: LungnodeProcess, open_page: Open) -> None:
    page = open_page("/studies")
    page.evaluate("window.same = true")
    ds = wrap(Film(drawn(9, 320), "pages live", view="LL", identity=Identity(patient_id="PAGES-LIVE")))
    assert storescu(node.dicom_port, [_saved(node, ds, "live.dcm")]).code == 0
    row = page.locator("tr", has_text="PAGES-LIVE")
    expect(row).to_be_visible(timeout=SECONDS)
    expect(row).to_contain_text("Not analysed", timeout=SECONDS)
    expect(row).to_contain_text("only frontal films")
    assert page.evaluate("window.same")


@pytest.mark.parametrize(("photometric", "window"), [("MONOCHROME2", (2048, 900)), ("MONOCHROME1", (1300.5, 1))])
def test_the_canvas_shows_what_the_standard_says(
    node: LungnodeProcess, open_page: Open, photometric: str, window: tuple[float, float]
) -> None:
    """Pixel by pixel beside our own rendering, which tests/dicomweb holds against others."""
    film = Film(drawn(11, 300), f"pages {photometric}", view="LL", photometric=photometric, identity=ANNA)
    ds = wrap(film)
    path = _saved(node, ds, f"{photometric}.dcm")
    assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert storescu(node.dicom_port, [path]).code == 0
    page = open_page(f"/studies/{ds.StudyInstanceUID}")
    page.wait_for_selector(SHOWN)
    for centre, width in (None, None), window:
        if centre is not None:
            page.evaluate(f"{VIEWER}.window = {{centre: {centre}, width: {width}}}; {VIEWER}.paint()")
        wanted = shown.frame(path, 0, Window(centre, width) if centre is not None and width is not None else None)
        size, greys = page.evaluate(
            f"(() => {{ const c = {VIEWER}.picture, d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            " return [[c.height, c.width], Array.from(d.filter((_, at) => at % 4 === 0))]; })()"
        )
        found = np.asarray(greys, int).reshape(size)
        assert np.abs(found - wanted.picture.astype(int)).max() <= 1


def test_heat_and_foci_lie_where_the_findings_say(node: LungnodeProcess, open_page: Open, analysed: str) -> None:
    page = open_page(f"/studies/{analysed}")
    page.wait_for_selector(SHOWN)
    lesions = node.query("--lesions", "--study", analysed)
    assert lesions
    found = page.evaluate(f"{VIEWER}.data.foci")
    stated = [[row["system"], row["number"], round(row["x_px"], 1), round(row["y_px"], 1)] for row in lesions]
    assert sorted(item for foci in found.values() for item in foci) == sorted(stated)
    one = lesions[0]
    colours = []
    for opacity in (0, 100):
        colours.append(
            page.evaluate(
                f"""(() => {{ const v = {VIEWER}; v.controls.system.value = "{one["system"]}";
                v.controls.foci.checked = v.controls.contours.checked = false; v.controls.opacity.value = {opacity};
                v.draw(); const p = v.place(), s = v.shown.said;
                const x = p.sharp * (p.x + ({one["x_px"]} + 0.5) * s.across * p.scale);
                const y = p.sharp * (p.y + ({one["y_px"]} + 0.5) * s.down * p.scale);
                return [...v.canvas.getContext("2d").getImageData(Math.round(x), Math.round(y), 1, 1).data]; }})()"""
            )
        )
    (grey, hot) = colours
    assert grey[0] == grey[1] == grey[2]
    assert max(hot[:3]) - min(hot[:3]) > 40  # heat has a colour


def test_everything_can_be_done_by_keyboard(open_page: Open, stack: str) -> None:
    page = open_page("/studies")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('href')") == f"/studies/{stack}":
            break
    else:
        pytest.fail("the study is not reached by Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/studies/{stack}")
    page.wait_for_selector(SHOWN)
    line = page.locator("#viewer-line")
    for _ in range(30):
        if page.evaluate("document.activeElement.className") == "screen":
            break
        page.keyboard.press("Tab")
    first = re.search(r"Slice (\d) of 9", line.inner_text())
    assert first
    page.keyboard.press("Home")
    expect(line).to_contain_text("Slice 1 of 9")
    page.keyboard.press("PageUp")
    expect(line).to_contain_text("Slice 2 of 9")
    page.keyboard.press("End")
    expect(line).to_contain_text("Slice 9 of 9")
    before = page.evaluate(f"{VIEWER}.window")
    for key in ("ArrowUp", "ArrowRight", "+", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    after = page.evaluate(f"{VIEWER}.window")
    assert after["centre"] > before["centre"] and after["width"] > before["width"]
    expect(line).to_contain_text("zoom 125 %")
    assert page.evaluate(f"{VIEWER}.moved.x") == 40
    page.keyboard.press("r")
    expect(line).not_to_contain_text("zoom")
    kept(page, "stack")


def test_the_mouse_changes_the_window_and_the_slice(open_page: Open, stack: str) -> None:
    page = open_page(f"/studies/{stack}")
    page.wait_for_selector(SHOWN)
    screen = page.locator(".screen").bounding_box()
    assert screen
    x, y = screen["x"] + screen["width"] / 2, screen["y"] + screen["height"] / 2
    before, slice_before = page.evaluate(f"[{VIEWER}.window, {VIEWER}.at]")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y - 50)
    page.mouse.up()
    after = page.evaluate(f"{VIEWER}.window")
    assert after["width"] > before["width"] and after["centre"] < before["centre"]
    page.mouse.wheel(0, -100)
    expect(page.locator("#viewer-line")).to_contain_text(f"Slice {slice_before + 2} of 9")


def test_an_operator_tests_and_pauses_a_destination(open_page: Open, orthanc: Orthanc, analysed: str) -> None:
    page = open_page("/destinations")
    card = page.locator("section", has_text=orthanc.address)
    card.get_by_role("button", name="Test by C-ECHO").click()
    expect(page.get_by_role("status")).to_have_text("It answers.")
    card.get_by_role("button", name="Pause").click()
    expect(card).to_contain_text("Paused since")
    card.get_by_role("button", name="Resume").click()
    expect(card).to_contain_text("Nothing waits")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(open_page: Open, analysed: str, stack: str, scheme: str) -> None:
    if not AXE.is_file():
        raise Absent("axe-core is not installed: npm package axe-core (tests/install_peers.sh)")
    page = open_page("/login", color_scheme=scheme, bypass_csp=True)
    home = page.url.removesuffix("/login")
    paths = ("/login", "/account", "/studies", f"/studies/{analysed}", f"/studies/{stack}", "/upload", "/models",
             "/models/cxnet", "/reports", "/destinations", "/settings", "/audit", "/nothing")  # fmt: skip
    found = {}
    for path in paths:
        page.goto(home + path)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        page.evaluate(AXE.read_text(encoding="utf-8"))
        result = page.evaluate(f"axe.run(document, {{runOnly: {json.dumps(LEVELS)}}})")
        assert len(result["passes"]) > 10
        if problems := [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in result["violations"]]:
            found[path] = problems
    assert found == {}


def test_a_lost_node_is_no_error_of_the_list(open_page: Open) -> None:
    """The list goes on by itself when the node is back."""
    page = open_page("/studies")
    page.route("**/studies/rows*", lambda route: route.abort())
    asked = page.evaluate("performance.getEntriesByType('resource').length")
    wait_until(lambda: page.evaluate("performance.getEntriesByType('resource').length") >= asked, 10, "asked")
    page.unroute("**/studies/rows*")
    with page.expect_response("**/studies/rows*", timeout=SECONDS) as answer:
        pass
    assert answer.value.ok


def test_somebody_who_logged_in_may_send_and_steer_and_log_out(browser: Browser) -> None:
    """Forms and uploads carry the token of the session; without it they are refused (tests/web)."""
    with_login = {"LUNGNODE_WEB_LOOPBACK_NEEDS_NO_LOGIN": "false", "LUNGNODE_NODE_WORKERS": "0"}
    with LungnodeProcess(send_to=["NOBODY@127.0.0.1:9"], environment=with_login) as node:
        password = re.search(r"with the password (\S+)", node.logged())
        assert password
        path = _saved(node, wrap(Film(drawn(2, 128), "pages login", identity=ANNA)), "film.dcm")
        page = browser.new_page()
        page.goto(f"http://{LOOPBACK}:{node.http_port}/destinations")
        kept(page, "login")
        page.get_by_label("Name").fill("admin")
        page.get_by_label("Password").fill(password[1])
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("h1")).to_have_text("Destinations")
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("status")).to_contain_text("sent nothing from now on")
        page.get_by_role("link", name="Upload").click()
        page.set_input_files("#files", path)
        expect(page.locator("#studies li")).to_be_visible(timeout=SECONDS)
        page.get_by_role("button", name="Log out").click()
        expect(page.locator("h1")).to_have_text("Log in")
        page.goto(f"http://{LOOPBACK}:{node.http_port}/studies")
        expect(page.locator("h1")).to_have_text("Log in")
        page.close()
