"""Every error the node raises on purpose, and the two questions each must answer: try again? whose fault?

    LungnodeError
    ├── Refused            the input's fault, for ever: a sentence goes back to the sender or into the report
    │   ├── BadDataSet     the data set cannot be understood (truncated, no UIDs, absurd geometry)
    │   ├── Conflict       the same SOP Instance UID with other bytes
    │   ├── OfAnotherSite  its study belongs to another site of this node
    │   └── NotAccepted    a SOP class, modality, view or image this node does not take
    ├── Transient          nobody's fault, try again later
    │   ├── OutOfResources disk or queue full
    │   └── PeerAway       the other side did not answer or closed the association
    ├── PeerRefused        the other side answered with a failure status
    ├── Misconfigured      the operator's fault: the node does not start
    └── InternalError      ours

One table per wire maps them: ``dimse.status`` (DIMSE), ``web.server`` (HTTP), ``cli`` (exit code).
"""

from __future__ import annotations


class LungnodeError(Exception):
    """Base. ``retry``: the same attempt may succeed later without anybody changing anything."""

    retry = False


class Refused(LungnodeError):
    """The input will never be taken; the message is one sentence without identifying data."""


class BadDataSet(Refused):
    pass


class Conflict(Refused):
    pass


class OfAnotherSite(Refused):
    pass


class NotAccepted(Refused):
    pass


class Transient(LungnodeError):
    retry = True


class OutOfResources(Transient):
    pass


class PeerAway(Transient):
    pass


class PeerRefused(LungnodeError):
    """The peer answered a request with a failure status; ``status`` is its 16-bit code."""

    retry = True

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Misconfigured(LungnodeError):
    pass


class InternalError(LungnodeError):
    retry = True
