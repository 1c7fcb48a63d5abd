"""Why an instance was not stored, as the Failure Reason (0008,1197) of a STOW-RS answer: one table."""

from __future__ import annotations

from node.core.errors import BadDataSet, Conflict, LungnodeError, NotAccepted, Transient
from node.pipeline.header import MismatchError


class SyntaxNotAccepted(NotAccepted):
    """A transfer syntax that is not stored, or that a message cannot have."""


OUT_OF_RESOURCES = 0xA700
REASON: tuple[tuple[type[LungnodeError], int], ...] = (
    (SyntaxNotAccepted, 0xC122),  # Referenced Transfer Syntax not supported, PS3.18 Table I.2-2
    (MismatchError, 0xA900),  # Error: data set does not match SOP class, PS3.18 Table I.2-2; or not the study
    (BadDataSet, 0xC000),  # Error: cannot understand, PS3.18 Table I.2-2
    (Conflict, 0x0111),  # Duplicate SOP Instance, PS3.7 C.5.9: other bytes are stored under this UID
    (NotAccepted, 0x0122),  # Referenced SOP Class not supported, PS3.18 Table I.2-2
    (Transient, OUT_OF_RESOURCES),  # Refused: out of resources, PS3.18 Table I.2-2; the client may try again
    (LungnodeError, 0x0110),  # Processing failure, PS3.18 Table I.2-2
)


def reason_of(error: LungnodeError) -> int:
    """The first row that fits."""
    return next(reason for kind, reason in REASON if isinstance(error, kind))
