"""What every DICOMweb route answers with: a refusal is a status and a plain sentence, and our errors have one table.

Sentences and header values are ours: nothing that a client sent is put into a header.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import PlainTextResponse, Response

from node.core.errors import BadDataSet, Conflict, LungnodeError, NotAccepted, Refused, Transient
from node.pipeline.catalogue import TooBroad

BAD_REQUEST, FORBIDDEN, NOT_FOUND, NOT_ACCEPTABLE, TOO_SLOW = 400, 403, 404, 406, 408
CONFLICT, TOO_LARGE, UNSUPPORTED_TYPE, BROKEN, UNAVAILABLE = 409, 413, 415, 500, 503
RETRY_SECONDS = "30"  # after 503
STATUS: tuple[tuple[type[LungnodeError], int], ...] = (  # of a retrieval; of a store each instance has its reason
    (TooBroad, TOO_LARGE),  # PS3.18 Table 10.6.3-1
    (Transient, UNAVAILABLE),
    (NotAccepted, NOT_ACCEPTABLE),
    (BadDataSet, NOT_ACCEPTABLE),
    (Conflict, CONFLICT),
    (Refused, BAD_REQUEST),
    (LungnodeError, BROKEN),
)
FAILED = "The node failed; its log says why."
NEVER_CHANGES = {"Cache-Control": "private, max-age=31536000, immutable"}  # an instance never changes under its UID
ASK_AGAIN = {"Cache-Control": "private, no-cache"}  # a study may grow: the ETag says whether it has


class Refusal(Exception):
    """The request cannot be answered; ``sentence`` goes to the client."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence

    @classmethod
    def of(cls, error: LungnodeError) -> Refusal:
        """The first row that fits."""
        return cls(next(status for kind, status in STATUS if isinstance(error, kind)), str(error))

    def response(self) -> Response:
        headers = {"Retry-After": RETRY_SECONDS} if self.status == UNAVAILABLE else {}
        return PlainTextResponse(f"{self.sentence}\n", self.status, headers)


def warning(sentence: str) -> Mapping[str, str]:
    """The header field of PS3.18 section 8.4.4, by which an answer says what it does not hold."""
    return {"Warning": f'299 lungnode "{sentence}"'}
