"""Which archive the settings mean: the folder, or the bucket with a folder as its cache on this machine.

boto3 is imported only where there is a bucket; it is the extra ``lungnode[s3]``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from node.archive import Archive
from node.core.errors import Misconfigured
from node.core.settings import Settings
from node.folders import Folders

MISSING = "archive.url is set and boto3 is not installed: install lungnode[s3], or leave it empty"


def archive_of(effective: Settings, folders: Folders) -> Archive:
    receive, bucket = effective.receive, effective.archive
    if not bucket.url:
        return Archive(folders.archive, receive.fsync, receive.min_free_bytes)
    try:
        from node.archive.bucket import BucketArchive
        from node.archive.objects import ObjectStore
    except ImportError as error:
        raise Misconfigured(MISSING) from error
    store = ObjectStore(bucket.url, bucket.endpoint, bucket.region)
    return BucketArchive(folders.cache, receive.fsync, receive.min_free_bytes, store, bucket.cache_bytes)


def reader(data: Path) -> Callable[[str], Path]:
    """Where a stored file can be read, for a command that changes nothing: as the last run on this folder had it."""
    folders = Folders.known(data)
    last = folders.last_settings()
    return archive_of(last, folders).path if last and last.archive.url else folders.archive.joinpath
