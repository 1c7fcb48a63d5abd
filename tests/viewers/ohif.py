"""OHIF as a peer: its built viewer beside a real Orthanc, on one origin, so that the browser asks nobody else.

``tests/install_peers.sh`` puts the viewer into ``.peers/ohif``; ``Absent`` says so where it is missing. The server
gives out its files and one page of settings, and passes everything below /dicom-web on to Orthanc.
"""

from __future__ import annotations

import http.client
import json
import mimetypes
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from tests.peers import LOOPBACK, Absent, Orthanc

FOLDER = Path(__file__).parents[2] / ".peers" / "ohif"
DICOMWEB = "/dicom-web"
SETTINGS = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": False,
    "maxNumberOfWebWorkers": 2,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "orthanc",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "orthanc",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                "wadoUriRoot": DICOMWEB,
                "qidoRoot": DICOMWEB,
                "wadoRoot": DICOMWEB,
                "qidoSupportsIncludeField": False,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "omitQuotationForMultipartRequest": True,
                "bulkDataURI": {"enabled": True},
            },
        }
    ],
}


class Ohif:
    """``with Ohif(orthanc) as viewer``: ``viewer.address(study_uid)`` opens the study."""

    def __init__(self, orthanc: Orthanc) -> None:
        if not (FOLDER / "dist" / "index.html").is_file():
            raise Absent("OHIF is not installed: npm package @ohif/app (tests/install_peers.sh)")
        self._server = ThreadingHTTPServer((LOOPBACK, 0), _handler(orthanc.http_port))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def origin(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_address[1]}"

    def address(self, study_uid: str) -> str:
        return f"{self.origin}/viewer?StudyInstanceUIDs={study_uid}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(orthanc_port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith(DICOMWEB + "/"):
                self._passed_on()
            elif urlsplit(self.path).path == "/app-config.js":
                self._give(200, "text/javascript", f"window.config = {json.dumps(SETTINGS)};".encode())
            else:
                self._file()

        def _file(self) -> None:
            """A file of the viewer; its routes are all one page."""
            path = FOLDER / "dist" / unquote(urlsplit(self.path).path).lstrip("/")
            if not path.is_file():
                path = FOLDER / "dist" / "index.html"
            self._give(200, mimetypes.guess_type(path.name)[0] or "application/octet-stream", path.read_bytes())

        def _passed_on(self) -> None:
            connection = http.client.HTTPConnection(LOOPBACK, orthanc_port, timeout=60)
            try:  # the Host header stays: Orthanc makes addresses from it
                connection.request("GET", self.path, headers={k: self.headers[k] for k in ("Host", "Accept")})
                answer = connection.getresponse()
                self._give(answer.status, answer.getheader("Content-Type", ""), answer.read())
            finally:
                connection.close()

        def _give(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if not self.path.startswith(DICOMWEB + "/"):
                self.send_header("Cache-Control", "max-age=3600")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *values: object) -> None:
            """Nothing is said."""

    return Handler
