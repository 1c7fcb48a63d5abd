"""STOW-RS, Store Transaction (PS3.18 section 10.5): a message in, one outcome for each instance out.

The body is taken from the socket no faster than it is written, so memory stays the same whatever its size. Who may
store, how many at once, and when the node is full is as for C-STORE; each instance that is named as stored is durable.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from node.archive import Archive
from node.board import Board
from node.core.dicomweb import Dicomweb
from node.core.study import Origin
from node.pipeline.header import is_uid
from node.pipeline.intake import Intake
from node.web.auth.needs import who
from node.web.dicomweb import json_model, media, xml_model
from node.web.dicomweb.answers import (
    BAD_REQUEST,
    CONFLICT,
    RETRY_SECONDS,
    TOO_LARGE,
    TOO_SLOW,
    UNAVAILABLE,
    UNSUPPORTED_TYPE,
    Refusal,
)
from node.web.dicomweb.json_model import Model
from node.web.dicomweb.media import DICOM, JSON, XML
from node.web.dicomweb.multipart import Malformed, Reader
from node.web.dicomweb.reasons import OUT_OF_RESOURCES, reason_of
from node.web.dicomweb.upload import AT_ONCE, Accepted, Outcome, Upload
from node.web.dicomweb.upload_json import JsonUpload

PIECE = 1 << 20  # bytes that are handed to a thread at once
OK, ACCEPTED = 200, 202  # all, and some: PS3.18 Table 10.5.3-1
ADVICE = "Send multipart/related with type application/dicom or application/dicom+json."


class Store:
    """Shared by all requests. board: where open uploads stand, so that a study waits for their end."""

    def __init__(
        self,
        intake: Intake,
        archive: Archive,
        board: Board,
        accepted: Accepted,
        wanted: Dicomweb,
        most_at_once: int,
    ) -> None:
        self._intake, self._archive, self._board, self._accepted = intake, archive, board, accepted
        self._wanted, self._most_at_once = wanted, most_at_once
        self._pool = ThreadPoolExecutor(2 * AT_ONCE, "stow")

    async def answer(self, request: Request, root: str, study: str) -> Response:
        """study: of the path, empty for any."""
        if study and not is_uid(study):
            raise Refusal(BAD_REQUEST, "What the path names as study is not a UID.")
        named, _ = media.chosen(request.headers.get("accept", ""), (JSON, "application/json", XML), "The answer")
        self._check_length(request.headers.get("content-length", "0"))
        address = request.client.host if request.client else ""
        origin = Origin(uuid.uuid4().hex[:12], "", "", address, who(request).said)
        upload = self._begun(request.headers.get("content-type", ""), origin, study)
        self._board.serve()
        if not self._board.enter(origin.association, "", self._most_at_once, 0):
            raise Refusal(UNAVAILABLE, "As many senders as are allowed are connected; try again later.")
        try:
            await self._read(request, upload)
            outcomes = await run_in_threadpool(upload.close)
        except Malformed as error:
            raise Refusal(BAD_REQUEST, str(error)) from error
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(upload.drop)
            self._board.leave(origin.association)
        if not outcomes:
            raise Refusal(BAD_REQUEST, "The message holds no instance.")
        return _response(outcomes, root, named)

    def _check_length(self, text: str) -> None:
        if text.isdigit() and int(text) > self._wanted.most_upload_bytes:
            raise Refusal(TOO_LARGE, f"A message has at most {self._wanted.most_upload_bytes} bytes.")

    def _begun(self, content_type: str, origin: Origin, study: str) -> Upload | JsonUpload:
        types = media.parsed(content_type) if content_type else []
        inner = types[0].parameters.get("type", "").lower() if types else ""
        if len(types) != 1 or types[0].name != "multipart/related" or inner not in (DICOM, JSON):
            raise Refusal(UNSUPPORTED_TYPE, ADVICE)
        try:
            reader = Reader(types[0].parameters.get("boundary", ""))
        except Malformed as error:
            raise Refusal(BAD_REQUEST, str(error)) from error
        if inner == JSON:
            return JsonUpload(reader, self._intake, self._archive, self._accepted, origin, study)
        return Upload(reader, self._intake, self._accepted, self._pool, origin, study)

    async def _read(self, request: Request, upload: Upload | JsonUpload) -> None:
        chunks, total = aiter(request.stream()), 0
        held: list[bytes] = []
        size = 0
        while True:
            with anyio.move_on_after(self._wanted.silent_seconds) as patience:
                chunk = await anext(chunks, None)
            if patience.cancelled_caught:
                raise Refusal(TOO_SLOW, f"Nothing came for {self._wanted.silent_seconds:g} seconds.")
            if chunk is not None:
                held.append(chunk)
                size, total = size + len(chunk), total + len(chunk)
                self._check_length(str(total))
            if size and (chunk is None or size >= PIECE):
                await run_in_threadpool(upload.feed, b"".join(held))
                held, size = [], 0
            if chunk is None:
                return


def _response(outcomes: Sequence[Outcome], root: str, named: str) -> Response:
    model, status = answered(outcomes, root)
    headers = {"Retry-After": RETRY_SECONDS} if status == UNAVAILABLE else {}
    if named == XML:
        return Response(xml_model.encoded(model), status, headers, XML)
    return Response(json.dumps(model, separators=(",", ":")), status, headers, named)


def answered(outcomes: Sequence[Outcome], root: str) -> tuple[Model, int]:
    """The Store Instances Response Module (PS3.18 Table I.1-1) and the status of Table 10.5.3-1."""
    stored = [one for one in outcomes if one.error is None]
    failed = [one for one in outcomes if one.error is not None and one.sop_instance_uid]
    others = [one for one in outcomes if one.error is not None and not one.sop_instance_uid]
    model: Model = {}
    if len({one.study for one in stored}) == 1:
        model["00081190"] = {"vr": "UR", "Value": [f"{root}/studies/{stored[0].study}"]}
    if failed:
        model["00081198"] = {"vr": "SQ", "Value": [_failure(one) for one in failed]}
    if stored:
        model["00081199"] = {"vr": "SQ", "Value": [_stored(one, root) for one in stored]}
    if others:  # of what cannot be named
        model["0008119A"] = {"vr": "SQ", "Value": [_reason(one) for one in others]}
    if len(stored) == len(outcomes):
        return model, OK
    reasons = {reason_of(one.error) for one in outcomes if one.error is not None}
    none = UNAVAILABLE if reasons == {OUT_OF_RESOURCES} else CONFLICT
    return model, ACCEPTED if stored else none


def _reference(one: Outcome) -> Model:
    return json_model.of_values(
        [("ReferencedSOPClassUID", "UI", one.sop_class_uid), ("ReferencedSOPInstanceUID", "UI", one.sop_instance_uid)]
    )


def _stored(one: Outcome, root: str) -> Model:
    url = f"{root}/studies/{one.study}/series/{one.series}/instances/{one.sop_instance_uid}"
    return {**_reference(one), "00081190": {"vr": "UR", "Value": [url]}}


def _failure(one: Outcome) -> Model:
    return {**_reference(one), **_reason(one)}


def _reason(one: Outcome) -> Model:
    assert one.error is not None
    return {"00081197": {"vr": "US", "Value": [reason_of(one.error)]}}
