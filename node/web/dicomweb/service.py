"""The DICOMweb service as an ASGI application: paths to functions, negotiation, errors as sentences.

Each route names the right that it needs. Functions are synchronous and run in threads; a body is sent
piece by piece as the client takes it, so that a slow one holds no thread. PS3.18 section 10.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from node.core import log
from node.core.dicomweb import Dicomweb
from node.core.errors import LungnodeError
from node.core.limits import Network, within
from node.pipeline.query_keys import Level
from node.web.auth.needs import needs
from node.web.dicomweb import media, rendered, retrieve, search, xml_model
from node.web.dicomweb.answers import (
    ASK_AGAIN,
    BROKEN,
    FAILED,
    FORBIDDEN,
    NEVER_CHANGES,
    NOT_FOUND,
    Refusal,
    warning,
)
from node.web.dicomweb.capabilities import described
from node.web.dicomweb.media import GIF, JPEG, JSON, PNG, XML
from node.web.dicomweb.metadata import Headers
from node.web.dicomweb.multipart import Writer
from node.web.dicomweb.renderings import Renderings
from node.web.dicomweb.resources import Objects, Resource, etag, is_known, only_images, root_of
from node.web.dicomweb.retrieve import Body
from node.web.dicomweb.store import Store

logger = logging.getLogger(__name__)
STUDY = "/studies/{study}"
SERIES = f"{STUDY}/series/{{series}}"
INSTANCE = f"{SERIES}/instances/{{instance}}"
PATHS = (  # all that can be read; what is asked for most stands first
    f"{INSTANCE}/frames/{{frames}}",
    f"{INSTANCE}/frames/{{frames}}/rendered",
    f"{INSTANCE}/frames/{{frames}}/thumbnail",
    f"{INSTANCE}/bulkdata/{{place:path}}",
    *(f"{path}{last}" for path in (INSTANCE, SERIES, STUDY) for last in ("", "/metadata", "/rendered", "/thumbnail")),
    f"{SERIES}/instances",
    f"{STUDY}/instances",
    "/instances",
    f"{STUDY}/series",
    "/series",
    "/studies",
)
SEARCHED = {"studies": Level.STUDY, "series": Level.SERIES, "instances": Level.IMAGE}
EXPOSED = ("Warning", "ETag", "Content-Location", "Retry-After")
PIECE = 1 << 20  # bytes of a body; a shorter one is sent as a whole
Answer = Callable[[Request], Response]


@dataclass(frozen=True)
class Service:
    objects: Objects
    store: Store
    wanted: Dicomweb
    most_matches: int  # of one search, 0 for no limit
    senders: Sequence[Network]  # from which anybody may store, as by C-STORE; none: from everywhere

    def application(self) -> Starlette:
        headers, view, renderings = Headers(self.objects), [needs("view")], Renderings(self.wanted.most_renderings)
        routes = [Route("/", self._guarded(self._capabilities), methods=["OPTIONS", "GET"], middleware=view)]
        for path in PATHS:
            slowly = renderings if path.rpartition("/")[2] in ("rendered", "thumbnail") else None
            answer = self._guarded(self._get(path, headers), slowly)
            routes.append(Route(path, answer, methods=["GET"], middleware=view))
        for path in ("/studies", STUDY):
            routes.append(Route(path, self._stored, methods=["POST"], middleware=[needs("store")]))
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(self.wanted.cors_origins),
            allow_methods=["GET", "POST", "OPTIONS"],
            allow_headers=["Accept", "Content-Type", "Authorization", "If-None-Match"],
            expose_headers=EXPOSED,
        )
        return Starlette(routes=routes, middleware=[cors] if self.wanted.cors_origins else [])

    def _get(self, path: str, headers: Headers) -> Answer:
        """What answers at a path, by its last word."""
        kind, last = path.rpartition("/")[0], path.rpartition("/")[2]
        if last == "metadata":
            return self._metadata(headers)
        if last in ("rendered", "thumbnail"):
            return self._rendered if last == "rendered" else self._thumbnail
        if last in SEARCHED:
            return self._search(SEARCHED[last])
        if kind.endswith("/frames"):
            return self._frames
        return self._bulk if kind.endswith("/bulkdata") else self._instances

    def _guarded(
        self, answer: Answer, renderings: Renderings | None = None
    ) -> Callable[[Request], Awaitable[Response]]:
        """Everything that a function may raise, as an answer. renderings: among which it waits for its turn."""

        def answered(request: Request) -> Response:
            try:
                return answer(request)
            except Refusal as refusal:
                return refusal.response()
            except LungnodeError as error:
                return Refusal.of(error).response()
            except FileNotFoundError:
                log.event(logger, "dicomweb.file_missing", logging.ERROR)
                return Refusal(NOT_FOUND, "The file of this instance is no longer in the archive.").response()
            except Exception:
                logger.exception("dicomweb.failed")
                return Refusal(BROKEN, FAILED).response()

        async def endpoint(request: Request) -> Response:
            if renderings is None:
                return await run_in_threadpool(answered, request)
            found = await renderings.answer(answered, request)
            if isinstance(found, _Pieces):
                found.body_iterator = renderings.pieces(found.pieces)
            return found

        return endpoint

    async def _stored(self, request: Request) -> Response:
        try:
            self._admit(request)
            root = root_of(request, self.wanted.public_url)
            return await self.store.answer(request, root, request.path_params.get("study", ""))
        except Refusal as refusal:
            return refusal.response()
        except ClientDisconnect:
            log.event(logger, "dicomweb.store_broken_off", logging.WARNING)
            return Response(status_code=BROKEN)  # nobody hears it
        except Exception:
            logger.exception("dicomweb.failed")
            return Refusal(BROKEN, FAILED).response()

    def _admit(self, request: Request) -> None:
        """As ``limits.calling_addresses`` says of DICOM peers."""
        if self.senders and not (request.client and within(request.client.host, self.senders)):
            raise Refusal(FORBIDDEN, "This address may not store here.")

    def _capabilities(self, request: Request) -> Response:
        root = root_of(request, self.wanted.public_url)
        return Response(described(root, PATHS), media_type="application/vnd.sun.wadl+xml")

    def _search(self, level: Level) -> Answer:
        def answer(request: Request) -> Response:
            named, _ = media.chosen(_accept(request), (JSON, "application/json", XML), "Matches")
            above = Resource.of(request.path_params).keys if "study" in request.path_params else {}
            asked = search.read(level, above, request.query_params.multi_items())
            root = root_of(request, self.wanted.public_url)
            found = search.search(self.objects.catalogue, asked, root, self.most_matches)
            remarks = [*asked.remarks, *([] if found.whole else [search.MORE])]
            headers = {**ASK_AGAIN, **(warning(" ".join(remarks)) if remarks else {})}
            log.event(logger, "query.answered", query_level=str(level), matches=len(found.matches))
            if not found.matches:
                return Response(status_code=204, headers=headers)
            status = 200 if found.whole else 206
            if named == XML:
                writer = Writer.new(XML)
                documents = [xml_model.encoded(match) for match in found.matches]
                parts = [writer.begin(XML, not n, length=len(d)) + d for n, d in enumerate(documents)]
                return Response(b"".join(parts) + writer.end(), status, headers, writer.content_type)
            return Response(b"".join(search.encoded(found.matches)), status, headers, named)

        return answer

    def _instances(self, request: Request) -> Response:
        found = self.objects.held(Resource.of(request.path_params))
        body = retrieve.instances(media.acceptable(_accept(request)), found, self.objects.path)
        fixed = NEVER_CHANGES if "instance" in request.path_params else ASK_AGAIN
        return _streamed(request, body, {**fixed, "ETag": etag(found, "dicom", _accept(request))})

    def _metadata(self, headers: Headers) -> Answer:
        def answer(request: Request) -> Response:
            resource = Resource.of(request.path_params)
            named, _ = media.chosen(_accept(request), (JSON, "application/json", XML), "Metadata")
            found, root = self.objects.held(resource), root_of(request, self.wanted.public_url)
            kept = {**ASK_AGAIN, "ETag": etag(found, "metadata", named, root)}
            if named == XML:
                writer = Writer.new(XML)
                return _streamed(
                    request, Body(writer.content_type, headers.as_xml(resource, found, root, writer)), kept
                )
            return _streamed(request, Body(named, headers.as_json(resource, found, root)), kept)

        return answer

    def _frames(self, request: Request) -> Response:
        one, path = self.objects.one(Resource.of(request.path_params))
        listed = request.path_params["frames"]
        body = retrieve.frames(media.acceptable(_accept(request)), path, listed)
        return _streamed(request, body, {**NEVER_CHANGES, "ETag": etag([one], "frames", listed, _accept(request))})

    def _bulk(self, request: Request) -> Response:
        one, path = self.objects.one(Resource.of(request.path_params))
        place = request.path_params["place"]
        body = retrieve.bulk(media.acceptable(_accept(request)), path, place)
        return _streamed(request, body, {**NEVER_CHANGES, "ETag": etag([one], "bulk", place, _accept(request))})

    def _rendered(self, request: Request) -> Response:
        wish = rendered.read(request.query_params)
        return self._pictured(request, wish, whole=True)

    def _thumbnail(self, request: Request) -> Response:
        wish = rendered.thumbnail(rendered.read(request.query_params))
        return self._pictured(request, wish, whole=False)

    def _pictured(self, request: Request, wish: rendered.Wish, whole: bool) -> Response:
        """whole: all of what the path names, else one picture for it."""
        offered = (JPEG, PNG, GIF) if whole else (JPEG, PNG)
        named, multipart = media.chosen(_accept(request), offered, "Pictures")
        resource = Resource.of(request.path_params)
        found, listed = self.objects.held(resource), request.path_params.get("frames", "")
        if listed:
            body = rendered.frames(self.objects.path(found[0]), listed, named, multipart and whole, wish)
        elif resource.instance:
            body = rendered.instance(self.objects.path(found[0]), named, wish)
        elif whole:
            body = rendered.several(only_images(found), self.objects, named, wish)
        else:
            body = rendered.representative(only_images(found), self.objects, named, wish)
        kept = NEVER_CHANGES if resource.instance else ASK_AGAIN
        return _streamed(request, body, {**kept, "ETag": etag(found, "picture", named, listed, repr(wish), str(whole))})


def _accept(request: Request) -> str:
    """The query parameter goes before the header field (PS3.18 section 8.3.3.1)."""
    return request.query_params.get("accept") or request.headers.get("accept", "")


def _streamed(request: Request, body: Body, headers: Mapping[str, str]) -> Response:
    """The first piece is made before the status is said: what fails at once is refused in words."""
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=dict(headers))
    pieces = _gathered(body.parts)
    begun = list(itertools.islice(pieces, 2))
    if len(begun) < 2:
        return Response(b"".join(begun), 200, dict(headers), body.content_type)
    return _Pieces(_logged(itertools.chain(begun, pieces)), headers, body.content_type)


class _Pieces(StreamingResponse):
    """pieces: of the body, none of which was sent yet."""

    def __init__(self, pieces: Iterator[bytes], headers: Mapping[str, str], content_type: str) -> None:
        super().__init__(pieces, 200, dict(headers), content_type)
        self.pieces = pieces


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """In pieces of about ``PIECE``: each of them goes from thread to thread, which takes longer than to join them."""
    held, size = list[bytes](), 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _logged(parts: Iterator[bytes]) -> Iterator[bytes]:
    """What fails on the way ends the connection before the end of the body: no client takes it for whole."""
    try:
        yield from parts
    except Exception as error:
        log.event(logger, "dicomweb.broken_off", logging.ERROR, reason=type(error).__name__)
        raise
