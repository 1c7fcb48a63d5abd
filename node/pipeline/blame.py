"""What keeps a stored file from being read: its own fault, which lasts, or that of what it lies on, which may be over
later. A bad block of a disk (EIO) is of the file: what is around it can be read, and one file must not hold up others.
"""

from __future__ import annotations

import errno

from node.core.errors import BadDataSet, LungnodeError, OutOfResources

SHARE = (errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH)
MACHINE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def is_unread(error: Exception) -> bool:
    """Whether the system did not read a file that is there. pydicom may seek where nothing is, and a decoder may raise
    an OSError without a number: that is of what was read."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL, errno.ENOENT)


def blamed(error: Exception) -> LungnodeError:
    if isinstance(error, LungnodeError):
        return error
    if isinstance(error, FileNotFoundError):
        return BadDataSet("The stored file is gone from the archive, or damaged there.")
    if isinstance(error, OSError) and is_unread(error):
        if error.errno in (*SHARE, *MACHINE):
            return OutOfResources(f"The stored file cannot be read now: {error.strerror}.")
        return BadDataSet(f"The stored file cannot be read: {error.strerror}.")
    return BadDataSet("The stored file cannot be read as DICOM.")
