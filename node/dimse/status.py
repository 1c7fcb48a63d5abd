"""Our errors as C-STORE statuses, one table. PS3.4 Table B.2-1 and PS3.7 Annex C."""

from __future__ import annotations

from node.core.errors import (
    BadDataSet,
    Conflict,
    LungnodeError,
    NotAccepted,
    OfAnotherSite,
    OutOfResources,
    Transient,
)
from node.pipeline.header import MismatchError

SUCCESS = 0x0000
WARNINGS = frozenset({0xB000, 0xB006, 0xB007})  # coerced, elements discarded, data set does not match: PS3.4 B.2-1
STATUS: tuple[tuple[type[LungnodeError], int], ...] = (
    (MismatchError, 0xA900),  # Error: data set does not match SOP class, PS3.4 Table B.2-1
    (BadDataSet, 0xC000),  # Error: cannot understand, PS3.4 Table B.2-1
    (Conflict, 0x0111),  # Duplicate SOP Instance, PS3.7 C.5.9
    (OfAnotherSite, 0x0124),  # Refused: not authorized, PS3.7 C.5.22
    (NotAccepted, 0x0122),  # Refused: SOP class not supported, PS3.7 C.5.26
    (OutOfResources, 0xA700),  # Refused: out of resources, PS3.4 Table B.2-1; senders try again
    (Transient, 0xA700),
    (LungnodeError, 0x0110),  # Processing failure, PS3.7 C.5.23
)


def status_of(error: LungnodeError) -> int:
    """The first row that fits."""
    return next(status for kind, status in STATUS if isinstance(error, kind))


def took_it(status: int | None) -> bool:
    """Whether the peer says that it has the object: success, or a warning, which is success with a note.

    Warnings are those of storage and, from peers that know no better, all others of their class (PS3.7 Annex C).
    """
    return status is not None and (
        status == SUCCESS or status in (0x0001, 0x0107, 0x0116) or 0xB000 <= status <= 0xBFFF
    )
