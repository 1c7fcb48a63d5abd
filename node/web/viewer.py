"""The OHIF viewer under /viewer, where it is installed: its published files as they are, on our DICOMweb service.

It is published for the root of a host: its first page, and the files that name others, get our path instead; its
settings are ours. Scripts within the page are named by digest in the Content Security Policy. It asks no other host.
Without it /viewer says so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from node.web.auth.needs import needs

PATH = "/viewer"
ABSENT = "The viewer is not installed here: `make viewer` fetches it.\n"
MOVED = {  # files that name others from the root of the host: media type, how they do, and how for us
    ".js": ("text/javascript", b'__webpack_require__.p = "/";', f'__webpack_require__.p = "{PATH}/";'.encode()),
    ".css": ("text/css", b"url(/", f"url({PATH}/".encode()),
}
INLINE = re.compile(r"<script>(.*?)</script>", re.S)
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",  # without both there is no memory shared by its workers
    "Cross-Origin-Resource-Policy": "same-origin",
}


def routes(folder: Path, dicomweb: str) -> list[BaseRoute]:
    """folder: ``dist`` of the package. dicomweb: path of the service on the same host."""
    if not (folder / "index.html").is_file():
        return [Route(path, _absent, middleware=[needs("view")]) for path in (PATH, f"{PATH}/{{rest:path}}")]
    page = _Page(folder, dicomweb)
    files = StaticFiles(directory=folder)
    inner = [
        Route("/", page.answer),
        Route("/index.html", page.answer),
        Route("/app-config.js", page.settings),
        *(Route(f"/{{name}}{ending}", page.moved(ending)) for ending in MOVED),
        Route("/viewer", page.answer),  # a study; everything else of the viewer is one of its files
        Mount("/", files),
    ]
    to_page = Route(PATH, _to_page, middleware=[needs("view")])
    return [to_page, Mount(PATH, _Secured(inner, page.policy), middleware=[needs("view")])]


def _to_page(request: Request) -> Response:
    return RedirectResponse(f"{PATH}/?{request.url.query}".rstrip("?"))


def _absent(_: Request) -> Response:
    return PlainTextResponse(ABSENT, 404)


class _Page:
    """What is made of the published files."""

    def __init__(self, folder: Path, dicomweb: str) -> None:
        published = (folder / "index.html").read_text(encoding="utf-8")
        self._folder = folder
        self._html = re.sub(r'(src|href|content|PUBLIC_URL)="/', rf'\1="{PATH}/', published)
        self._settings = f"window.config = {json.dumps(settings(dicomweb))};\n"
        digests = " ".join(f"'sha256-{_digest(script)}'" for script in INLINE.findall(self._html))
        self.policy = "; ".join(
            (
                "default-src 'self'",
                f"script-src 'self' 'unsafe-eval' {digests}",  # OHIF compiles its readers of segmentations
                "style-src 'self' 'unsafe-inline'",
                "img-src 'self' data: blob:",
                "font-src 'self' data:",
                "connect-src 'self' data: blob:",
                "worker-src 'self' blob:",
                "object-src 'none'",
                "base-uri 'self'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        )

    def answer(self, _: Request) -> Response:
        return HTMLResponse(self._html, headers={"Cache-Control": "no-cache"})

    def moved(self, ending: str) -> Callable[[Request], Response]:
        """A file that names others. Its name has a digest of what it was, so that it may be kept."""
        media_type, root, ours = MOVED[ending]

        def answer(request: Request) -> Response:
            path = self._folder / f"{request.path_params['name']}{ending}"
            if not path.is_file():
                return PlainTextResponse("The viewer has no such file.\n", 404)
            content = path.read_bytes().replace(root, ours)
            return Response(content, media_type=media_type, headers={"Cache-Control": "max-age=86400"})

        return answer

    def settings(self, _: Request) -> Response:
        return Response(self._settings, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


class _Secured:
    """The routes, each answer with the header fields of security."""

    def __init__(self, inner: list[BaseRoute], policy: str) -> None:
        self._inner = Router(inner)
        fields: Mapping[str, str] = {**SECURITY, "Content-Security-Policy": policy}
        self._fields = [(name.lower().encode(), value.encode()) for name, value in fields.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._fields]
            await send(message)

        await self._inner(scope, receive, secured)


def settings(dicomweb: str) -> dict[str, object]:
    """Of OHIF 3: our service is the only source."""
    return {
        "routerBasename": PATH,
        "extensions": [],
        "modes": [],
        "customizationService": {},
        "showStudyList": True,
        "maxNumberOfWebWorkers": 3,
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False,
        "investigationalUseDialog": {"option": "never"},
        "defaultDataSourceName": "lungnode",
        "dataSources": [
            {
                "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
                "sourceName": "lungnode",
                "configuration": {
                    "friendlyName": "lungnode",
                    "name": "lungnode",
                    "wadoUriRoot": dicomweb,
                    "qidoRoot": dicomweb,
                    "wadoRoot": dicomweb,
                    "qidoSupportsIncludeField": True,
                    "imageRendering": "wadors",
                    "thumbnailRendering": "wadors",
                    "enableStudyLazyLoad": True,
                    "supportsFuzzyMatching": False,
                    "supportsWildcard": True,
                    "omitQuotationForMultipartRequest": False,
                    "bulkDataURI": {"enabled": True},
                },
            }
        ],
    }
