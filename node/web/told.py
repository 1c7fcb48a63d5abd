"""Requests that show results or images, in the audit trail before the first byte of their answer leaves.

An ASGI middleware, so that routes know nothing of it. What stands before it may put the account of who asks into the
scope as ``lungnode.account``; a route may put what was asked for there as ``lungnode.asked``, without what identifies a
patient. Uploads and verdicts are told by those who keep them. Where the trail cannot be written the answer is 503.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import time
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.core.audit import AuditEvent, Recent

logger = logging.getLogger(__name__)
API = "/api/v1/"
VIEW_SECONDS = 60.0  # a study that is looked at is one row for so long, not one for each of its frames
UNKNOWN = (401, 429)  # nobody proved who they are: one row for so long from each address, so that it fills no disk
LISTS = ("/studies", "/studies/rows")  # pages with the names of patients; a script asks for the second all the time
TRAILS = ("/audit", "/reports")
STUDY = "/studies/"
SEARCHED = ("studies", "series", "instances")  # the last part of a path of QIDO-RS, PS3.18 section 10.6
REFUSAL = {
    "title": "Service Unavailable",
    "status": 503,
    "detail": "The audit trail cannot be written; try again later.",
}


class Told:
    """dicomweb: the prefix of its paths."""

    def __init__(
        self,
        app: ASGIApp,
        tell: Callable[[AuditEvent], None],
        dicomweb: str,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._tell, self._dicomweb, self._seconds = app, tell, dicomweb.rstrip("/"), seconds
        self._recent = Recent()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        event = self._event(scope) if scope["type"] == "http" else None
        if event is None:
            await self._app(scope, receive, send)
            return
        refused = False

        async def sending(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                refused = not await self._is_told(event, scope, int(message["status"]))
                if refused:
                    await _refuse(send)
            if not refused:
                await send(message)

        await self._app(scope, receive, sending)

    def _event(self, scope: Scope) -> AuditEvent | None:
        """What a request is, before it is answered; None: nothing to tell."""
        path, reads = scope["path"], scope["method"] in ("GET", "HEAD")
        if path.startswith(API):
            is_told = not path.endswith(("/verdict", "openapi.json"))
            return AuditEvent("api", details={"path": path[:128]}) if is_told else None
        if path in LISTS:
            return AuditEvent("query", details={"path": path, "keys": [] if reads else ["person"]})
        if path in TRAILS:
            return AuditEvent("api", details={"path": path})
        if reads and path.startswith(STUDY):
            study, _, first = path.removeprefix(STUDY).partition("/")
            return AuditEvent("view", study_uid=study, details={"first": first[:128]}) if _is_uid(study) else None
        if not reads or not path.startswith(f"{self._dicomweb}/"):
            return None
        parts = path.removeprefix(f"{self._dicomweb}/").strip("/").split("/")
        study = parts[1] if parts[0] == "studies" and len(parts) > 1 and _is_uid(parts[1]) else ""
        if parts[-1] in SEARCHED:
            keys = sorted({name for name, _ in parse_qsl(scope["query_string"].decode("latin-1"))})
            return AuditEvent(
                "query", study_uid=study, details={"path": f"/{parts[-1]}", "keys": [k[:64] for k in keys]}
            )
        return AuditEvent("view", study_uid=study, details={"first": "/".join(parts[2:])[:128]}) if study else None

    async def _is_told(self, event: AuditEvent, scope: Scope, status: int) -> bool:
        """False where it cannot be."""
        account, address = str(scope.get("lungnode.account", "")), (scope.get("client") or ("", 0))[0]
        key: tuple[str, ...] = (account, address, event.study_uid)
        now = self._seconds()
        by_nobody = status in UNKNOWN or (status >= 400 and not account)  # what there is not is asked for by anybody
        key = ("nobody", address) if by_nobody else key
        if event.kind == "view" and status >= 400:
            return True
        is_list = event.details.get("path") in LISTS and not event.details["keys"]
        is_short = event.kind == "view" or is_list or by_nobody
        if is_short and self._recent.has(key, now - VIEW_SECONDS):
            return True
        outcome = "success" if status < 300 or status == 304 else "minor" if status < 500 else "serious"
        details = {**event.details, "status": status, **scope.get("lungnode.asked", {})}
        whole = dataclasses.replace(event, outcome=outcome, actor=account, address=address, details=details)
        try:
            await run_in_threadpool(self._tell, whole)
        except Exception:
            logger.exception("audit.not_written", extra={"fields": {"kind": event.kind}})
            return False
        if is_short:
            self._recent.add(key, now)
        return True


def _is_uid(text: str) -> bool:
    return re.fullmatch(r"[0-9.]{1,64}", text) is not None


async def _refuse(send: Send) -> None:
    body = json.dumps(REFUSAL).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
