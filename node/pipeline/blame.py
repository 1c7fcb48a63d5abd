"""What keeps a stored file from being read: its own fault, which lasts, or the disk's, which may be over later."""

from __future__ import annotations

import errno

from node.core.errors import BadDataSet, LungnodeError, OutOfResources


def blamed(error: Exception) -> LungnodeError:
    """pydicom may seek where nothing is, and a decoder may raise an OSError without a number: faults of the file."""
    if isinstance(error, LungnodeError):
        return error
    if isinstance(error, FileNotFoundError):
        return BadDataSet("The stored file is gone from the archive, or damaged there.")
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return OutOfResources(f"The stored file cannot be read now: {error.strerror}.")
    return BadDataSet("The stored file cannot be read as DICOM.")
