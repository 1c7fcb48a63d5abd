"""What a person sees in OHIF, read from the page: the pixels of the canvas, the lines drawn over it, the measurements.

Places come back in the source matrix as in ``models.api`` (x, y, 0-based pixel centres). They are computed from what is
on the screen through the camera and the geometry of the drawn image (vtk), not by the code of the viewer that placed
them. ``errors`` collects what the page says went wrong: on the console, thrown, failed requests, dialogs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Playwright, TimeoutError

from tests.peers import program
from tests.viewers.ohif import Ohif

Point = tuple[float, float]
PICTURES = Path(__file__).parents[2] / "artefacts" / "viewers"
SECONDS = 45.0
TROUBLE = "Something went wrong"  # of OHIF's own dialogs
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip
TRACKED = "@ohif/extension-measurement-tracking.panelModule.trackedMeasurements"
SKIP_TOUR = "localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))"

VIEWPORT = """
const state = services.viewportGridService.getState();
const viewport = services.cornerstoneViewportService.getCornerstoneViewport(state.activeViewportId);
const image = viewport?.getImageData?.()?.imageData;
const shown = () => state.viewports.get(state.activeViewportId)?.displaySetInstanceUIDs ?? [];
const toImage = point => image.worldToIndex(point).slice(0, 2);
const fromCanvas = point => toImage(viewport.canvasToWorld(point));
"""
SHOWS = f"""description => {{ {VIEWPORT}
    const wanted = services.displaySetService.activeDisplaySets.filter(one => one.SeriesDescription === description);
    if (document.body.innerText.includes('{TROUBLE}')) return true;
    return !!image && wanted.some(one => shown().includes(one.displaySetInstanceUID));
}}"""
COLOURS = f"""async points => {{ {VIEWPORT}
    viewport.render();
    for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
    const canvas = viewport.getCanvas(), pen = canvas.getContext('2d');
    return points.map(([x, y]) => {{
        const [left, top] = viewport.worldToCanvas(image.indexToWorld([x, y, 0]));
        return [...pen.getImageData(Math.round(left), Math.round(top), 1, 1).data].slice(0, 3);
    }});
}}"""
OUTLINED = f"""count => {{ {VIEWPORT}
    viewport.render();  // about one time in ten OHIF 3.13 draws no line until the picture is drawn again
    return viewport.element.querySelectorAll('svg polyline').length === count;
}}"""
LINES = f"""() => {{ {VIEWPORT}
    const svg = viewport.element.querySelector('svg.svg-layer');
    const outlines = [...svg.querySelectorAll('polyline')].map(line =>
        [...line.points].map(point => fromCanvas([point.x, point.y])));
    const arrows = [...svg.querySelectorAll('line:not([stroke-dasharray])')].map(line =>
        fromCanvas([Number(line.getAttribute('x2')), Number(line.getAttribute('y2'))]));
    return {{outlines, arrows}};
}}"""
MEASURED = f"""() => {{ {VIEWPORT}
    return services.measurementService.getMeasurements().map(one => {{
        const data = cornerstoneTools.annotation.state.getAnnotation(one.uid).data;
        const points = data.contour?.polyline ?? data.handles.points;
        return {{tool: one.toolName, label: one.label, image: one.SOPInstanceUID, points: points.map(toImage)}};
    }});
}}"""
GO_TO = f"""async part => {{ {VIEWPORT}
    const index = viewport.getImageIds().findIndex(one => one.includes(part));
    await viewport.setImageIdIndex(index);
    return index;
}}"""
LABELLED = """() => services.segmentationService.getSegmentations().flatMap(({segments, representationData}) =>
    Object.values(representationData.Labelmap.labelmaps).flatMap(map => map.imageIds.flatMap((id, place) => {
        const {columns, voxelManager} = cornerstone.cache.getImage(id), sums = {};
        voxelManager.getScalarData().forEach((label, at) => {
            if (!label) return;
            const sum = sums[label] ??= [0, 0, 0];
            sum[0]++, sum[1] += at % columns, sum[2] += Math.floor(at / columns);
        });
        const image = map.referencedImageIds[place % map.referencedImageIds.length];
        return Object.entries(sums).map(([label, [count, x, y]]) =>
            ({name: segments[map.labelToSegmentIndex[label]].label, image, count, x: x / count, y: y / count}));
    })))"""
SEGMENTED = """count => services.segmentationService.getSegmentations().some(
    one => Object.keys(one.segments).length === count)"""
UNSUPPORTED = (
    "() => services.displaySetService.activeDisplaySets.filter(one => one.unsupported).map(one => one.Modality)"
)
CURRENT = f"() => {{ {VIEWPORT} return viewport.getCurrentImageId(); }}"


def chromium(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=program("chromium"), args=list(ARGUMENTS))


class NotShown(Exception):
    """What was asked for did not appear in time."""


class Screen:
    """One page of one browser."""

    def __init__(self, page: Page, viewer: Ohif) -> None:
        self.page, self.viewer = page, viewer
        self._heard: list[str] = []
        page.set_default_timeout(1000 * SECONDS)
        page.add_init_script(SKIP_TOUR)
        page.on("console", lambda message: self._heard.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self._heard.append(str(error)))
        page.on("requestfailed", lambda request: self._heard.append(f"{request.failure} {request.url}"))
        page.on(
            "response", lambda answer: self._heard.append(f"{answer.status} {answer.url}") if not answer.ok else None
        )

    @property
    def errors(self) -> list[str]:
        return [*self._heard, *(TROUBLE for _ in self.page.get_by_text(TROUBLE).all())]

    def in_trouble(self, seconds: int = 10) -> bool:
        """Whether an error comes up before that time is over."""
        for _ in range(5 * seconds):
            if self.errors:
                return True
            self.page.wait_for_timeout(200)
        return False

    def open(self, study_uid: str, description: str) -> None:
        """Open the study and wait for the series that OHIF shows first."""
        self.page.goto(self.viewer.address(study_uid))
        self.page.wait_for_selector("[data-viewportid] canvas")
        self._wait(SHOWS, description)

    def show(self, description: str) -> None:
        """Open a series by a double click on its entry. Returns when it is in the viewport, or an error is."""
        self.page.get_by_text(description[:20]).first.dblclick()
        self._wait(SHOWS, description)

    def _wait(self, condition: str, argument: object) -> None:
        try:
            self.page.wait_for_function(condition, arg=argument, polling=200)
        except TimeoutError as error:
            self.picture("not-shown")
            raise NotShown(f"after {SECONDS:g} s still not: {argument}; {self.errors}") from error

    def colours(self, points: list[Point]) -> list[tuple[int, int, int]]:
        """RGB of the canvas at places of the source matrix."""
        found: list[list[int]] = self.page.evaluate(COLOURS, points)
        return [(red, green, blue) for red, green, blue in found]

    def lines(self, outlines: int) -> tuple[list[list[Point]], set[Point]]:
        """(outlines, tips of arrows) as drawn, when there are as many outlines."""
        self._wait(OUTLINED, outlines)
        found: dict[str, Any] = self.page.evaluate(LINES)
        return [[(x, y) for x, y in line] for line in found["outlines"]], {(x, y) for x, y in found["arrows"]}

    def take_over(self, count: int) -> list[dict[str, Any]]:
        """Answer "Yes" to tracking; the measurements, when there are as many: tool, label, image, points."""
        self.page.locator("[data-cy=yes-hydrate-btn]").click()
        self._wait("count => services.measurementService.getMeasurements().length === count", count)
        found: list[dict[str, Any]] = self.page.evaluate(MEASURED)
        return found

    def go_to(self, part: str) -> None:
        """The image of the stack whose address holds ``part``: a SOP Instance UID, "/frames/2"."""
        if self.page.evaluate(GO_TO, part) < 0:
            raise NotShown(f"no image {part} in the stack")

    def labelled(self, segments: int) -> list[dict[str, Any]]:
        """Of each slice and segment, when there are as many segments: name, image, count of pixels, x, y of their
        middle."""
        self._wait(SEGMENTED, segments)
        found: list[dict[str, Any]] = self.page.evaluate(LABELLED)
        return found

    @property
    def unsupported(self) -> list[str]:
        """Modalities of the series that the viewer marks as such."""
        return sorted(self.page.evaluate(UNSUPPORTED))

    @property
    def current_image(self) -> str:
        return str(self.page.evaluate(CURRENT))

    def list_measurements(self) -> None:
        """Open the panel that lists them."""
        self.page.evaluate(f"services.panelService.activatePanel('{TRACKED}', true)")
        self.page.wait_for_timeout(1000)  # it slides in

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")
