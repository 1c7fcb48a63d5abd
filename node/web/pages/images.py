"""What the viewer of a study fetches: values of an image for its canvas, what lies over it, a picture, a stored file.

Every path names the study first, so that seeing it is told in the audit trail once a minute and account. An image and
an analysis never change under their names, so a browser may keep them for as long as somebody looks at the study.
"""

from __future__ import annotations

import base64
import json
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute

from node.archive import Archive
from node.db import layers, study_page, verdicts
from node.db.layers import Layer
from node.db.session import Database
from node.pipeline import canvas, shown
from node.pipeline.catalogue import Catalogue
from node.pipeline.header import is_uid
from node.web.dicomweb.renderings import Renderings
from node.web.pages.site import Posted, Site

KEPT = {"Cache-Control": "private, max-age=600", "X-Content-Type-Options": "nosniff"}
LONGEST = {"small": 240, "large": 1024}  # pixels of a picture's longer side
PIECE = 1 << 20
STUDY = "/studies/{study}"
IMAGE = f"{STUDY}/images/{{series}}/{{instance}}/{{frame}}"


@dataclass(frozen=True)
class Images:
    """renderings: the turns of what decodes an image."""

    site: Site
    database: Database
    archive: Archive
    catalogue: Catalogue
    renderings: Renderings

    def routes(self) -> list[BaseRoute]:
        route, turns = self.site.route, self.renderings
        return [
            route(f"{IMAGE}/values", self._values, "view", renderings=turns),
            route(f"{IMAGE}/picture/{{size}}", self._picture, "view", renderings=turns),
            route(f"{IMAGE}/marked/{{analysis}}/{{system}}", self._marked, "view", renderings=turns),
            route(f"{STUDY}/layers/{{analysis}}/{{instance}}/{{frame}}", self._layers, "view"),
            route(f"{STUDY}/files/{{series}}/{{instance}}", self._file, "view"),
            route(f"{STUDY}/results.zip", self._results, "view"),
        ]

    def _values(self, request: Request, _: Posted) -> Response:
        path, index = self._frame(request)
        made = canvas.values(path, index)
        said = {
            "width": made.width,
            "height": made.height,
            "slope": made.slope,
            "intercept": made.intercept,
            "centre": made.window.centre,
            "windowWidth": made.window.width,
            "function": made.window.function,
            "darkIsHigh": made.dark_is_high,
            "across": made.across,
            "down": made.down,
            "padding": canvas.PADDING,
        }
        headers = {**KEPT, "Lungnode-Image": json.dumps(said)}
        return Response(made.content, headers=headers, media_type="application/octet-stream")

    def _picture(self, request: Request, _: Posted) -> Response:
        longest = LONGEST.get(request.path_params["size"])
        if longest is None:
            raise HTTPException(404)
        path, index = self._frame(request)
        return Response(canvas.picture(path, index, longest), headers=KEPT, media_type="image/jpeg")

    def _marked(self, request: Request, _: Posted) -> Response:
        """The same picture with the heat of one system; without it where the system found none."""
        path, index = self._frame(request)
        wanted = request.path_params["system"]
        heat = next((one.content for one in self._over(request) if one.kind == "heat" and one.system == wanted), b"")
        return Response(canvas.picture(path, index, LONGEST["large"], heat), headers=KEPT, media_type="image/jpeg")

    def _layers(self, request: Request, _: Posted) -> Response:
        found: dict[str, dict[str, object]] = {"heat": {}, "contours": {}, "outlines": {}}
        for one in self._over(request):
            is_picture = one.kind == "heat"
            found[one.kind][one.system] = (
                base64.b64encode(one.content).decode() if is_picture else json.loads(one.content)
            )
        return JSONResponse(found, headers=KEPT)

    def _over(self, request: Request) -> list[Layer]:
        given, analysis, frame = request.path_params, _number(request, "analysis"), _number(request, "frame")
        with self.database.read() as session:
            if verdicts.study_of(session, analysis) != given["study"]:
                raise HTTPException(404, "There is no such analysis of this study.")
            return layers.contents(session, analysis, given["instance"], frame)

    def _frame(self, request: Request) -> tuple[Path, int]:
        """The file, and the frame from 0."""
        path, number = self._path(request), _number(request, "frame")
        if not 1 <= number <= shown.frame_count(path):
            raise HTTPException(404, "The image has no such frame.")
        return path, number - 1

    def _path(self, request: Request) -> Path:
        uids = [request.path_params[name] for name in ("study", "series", "instance")]
        found = self.catalogue.one(*uids) if all(map(is_uid, uids)) else None
        if found is None:
            raise HTTPException(404, "There is no such object in this study.")
        return self.archive.path(found.path)

    def _file(self, request: Request, _: Posted) -> Response:
        path, name = self._path(request), f"{request.path_params['instance']}.dcm"
        return FileResponse(path, headers=KEPT, media_type="application/dicom", filename=name)

    def _results(self, request: Request, _: Posted) -> Response:
        """Every object of the analysis that stands, as one archive without compression: pictures are compressed."""
        with self.database.read() as session:
            found = study_page.files_of_results(session, request.path_params["study"])
        if not found:
            raise HTTPException(404, "There is no result of this study in the archive.")
        with self.archive.reading(relative for _, _, relative in found):
            files = {f"{kind}/{sop_uid}.dcm": self.archive.path(relative) for kind, sop_uid, relative in found}
            if not all(path.is_file() for path in files.values()):
                raise HTTPException(404, "A result of this study is gone from the archive, or damaged there.")
            if not self.archive.has_room(sum(path.stat().st_size for path in files.values())):
                raise HTTPException(503, "The disk has no room to put the results together.", {"Retry-After": "60"})
            folder = self.archive.new_temporary().parent
            made = TemporaryFile(dir=folder)  # noqa: SIM115 - closed when the answer has been sent
            with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as whole:
                for inside, path in files.items():
                    whole.write(path, inside)
        length = made.seek(0, os.SEEK_END)
        made.seek(0)
        name = f"results-{request.path_params['study']}.zip"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(length)}
        return StreamingResponse(
            _pieces(made), headers=headers, media_type="application/zip", background=BackgroundTask(made.close)
        )


def _number(request: Request, name: str) -> int:
    """Of the path; none is longer than a column of the database holds."""
    text = request.path_params[name]
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise HTTPException(404)
    return int(text)


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(PIECE):
        yield piece
