"""Objects in one bucket of a store that speaks S3, below one prefix: put, get, list, remove. Imports boto3, so it is
imported only where a bucket is configured.

An object is taken for stored when the store has said so after comparing the MD5 that went with it (Content-MD5: older
stores than Amazon's know no other checksum); its SHA-256 stands in its metadata and is compared whenever it is read.
Credentials come from where boto3 looks for them, never from a setting. ``Away`` is what fails and may succeed later; an
object that is not there is a FileNotFoundError, one that has other bytes is ``Damaged``, and both last. What a reader
found damaged is marked so in its metadata, which is all that a HEAD sees: nobody reads an object to know that it is
there.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    ConnectTimeoutError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from node.core import log
from node.core.errors import Misconfigured, OutOfResources

logger = logging.getLogger(__name__)

CONNECT_SECONDS, ANSWER_SECONDS, ATTEMPTS = 4, 8, 2  # twice that is over before a sender has waited 30 s
CONNECTIONS = 32
PIECE = 1 << 20
USUAL_REGION = "us-east-1"  # which stores other than Amazon's take as it is
READS = 2  # of an object before its bytes are taken for damaged, not those that came over the wire
GONE = ("NoSuchKey",)  # 404 alone may be the word of a balancer
GONE_HEAD = (*GONE, "404", "NotFound")  # an answer to HEAD has no body that could name the code
MARK = "damaged"  # in the metadata
THERE = ("PreconditionFailed", "412", "ConditionalRequestConflict")  # or another writes it at this moment
UNCONDITIONAL = ("NotImplemented", "501")
FORBIDDEN = ("AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")
REASONS: tuple[tuple[type[BotoCoreError], str], ...] = (  # the first that fits
    (NoCredentialsError, "there are no credentials for the object store"),
    (PartialCredentialsError, "the credentials for the object store are not whole"),
    (ReadTimeoutError, "the object store does not answer"),
    (SSLError, "the object store's certificate is not trusted"),
    (ConnectTimeoutError, "the object store cannot be reached"),
    (ConnectionError, "the object store cannot be reached"),
)


class Away(OutOfResources):
    """reason: a part of a sentence, for who says it in another one."""

    def __init__(self, reason: str, verb: str) -> None:
        super().__init__(f"The archive cannot be {verb}: {reason}.")
        self.reason = reason


class Damaged(OSError):
    """Other bytes than were stored: no later attempt is better."""


@dataclass(frozen=True)
class Listed:
    """age: by the clock of the store, since the object was written."""

    name: str
    age: timedelta


class ObjectStore:
    """Every method may be called from any thread. Names are relative to the prefix."""

    def __init__(self, url: str, endpoint: str = "", region: str = "") -> None:
        """url: s3://BUCKET/PREFIX. endpoint: of a store that is not Amazon's; its buckets are named in the path."""
        parts = urlsplit(url)
        self.url, self._bucket = url.rstrip("/"), parts.netloc
        self._prefix = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=CONNECTIONS,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if endpoint else {},
        )
        try:
            session = boto3.session.Session()
            where = region or session.region_name or USUAL_REGION
            self._client: Any = session.client("s3", endpoint_url=endpoint or None, region_name=where, config=config)
        except (BotoCoreError, ValueError) as error:
            raise Misconfigured(f"the archive {url} cannot be used: {error}") from error

    def put(self, name: str, content: IO[bytes]) -> int:
        """Durable when this returns, by what the store promises; the size."""
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        while piece := content.read(PIECE):
            md5.update(piece)
            sha256.update(piece)
        size = content.tell()
        content.seek(0)
        with _said("written"):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + name,
                Body=content,
                ContentMD5=b64encode(md5.digest()).decode(),
                Metadata={"sha256": sha256.hexdigest()},
            )
        return size

    def put_first(self, name: str, content: bytes) -> None:
        """Unless it is there. A store that knows no conditional PUT writes over it, so read it afterwards."""
        with _said("written"):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content, IfNoneMatch="*")
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                if code in UNCONDITIONAL:
                    self.put(name, io.BytesIO(content))
                elif code not in THERE:
                    raise

    def get(self, name: str, into: IO[bytes], expect: Callable[[int], object] = lambda _: None) -> None:
        """expect: told the size before anything is written. Damaged where the bytes are not those that were put."""
        for _ in range(READS):
            if self._read(name, into, expect):
                return
        log.event(logger, "archive.damaged", logging.ERROR, object=name)
        self._mark(name)
        raise Damaged("an object has other bytes than were stored")

    def _read(self, name: str, into: IO[bytes], expect: Callable[[int], object]) -> bool:
        """Whether these are the bytes that were put."""
        sha256 = hashlib.sha256()
        with _said("read", absent=GONE):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            expect(answer["ContentLength"])
            into.seek(0)
            into.truncate()
            for piece in answer["Body"].iter_chunks(PIECE):  # which raises where some are missing
                into.write(piece)
                sha256.update(piece)
        return bool(answer["Metadata"].get("sha256", sha256.hexdigest()) == sha256.hexdigest())

    def _mark(self, name: str) -> None:
        """As damaged, if the store takes it: the same object again with other metadata, which is the only way."""
        this = {"Bucket": self._bucket, "Key": self._prefix + name}
        with contextlib.suppress(FileNotFoundError, Away), _said("written", absent=GONE_HEAD):
            found = self._client.head_object(**this)
            if MARK not in found["Metadata"]:
                marked = {**found["Metadata"], MARK: "yes"}
                self._client.copy_object(
                    **this,
                    CopySource=this,
                    CopySourceIfMatch=found["ETag"],
                    MetadataDirective="REPLACE",
                    Metadata=marked,
                )

    def holds(self, name: str) -> bool:
        """And nobody has found it damaged."""
        try:
            with _said("read", absent=GONE_HEAD):
                found = self._client.head_object(Bucket=self._bucket, Key=self._prefix + name)
        except FileNotFoundError:
            return False
        return MARK not in found["Metadata"]

    def remove(self, name: str) -> None:
        """It need not be there."""
        with _said("written"):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)

    def listed(self, folder: str) -> Iterator[Listed]:
        """All that is below ``folder``, in pages of a thousand."""
        pages = self._client.get_paginator("list_objects_v2")
        with _said("read"):
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/"):
                now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                for found in page.get("Contents", ()):
                    written: datetime = found["LastModified"]
                    yield Listed(found["Key"].removeprefix(self._prefix), now - written)


@contextlib.contextmanager
def _said(verb: str, absent: Collection[str] = ()) -> Iterator[None]:
    """What boto3 raises, as ours. verb: what cannot be done with the archive. absent: codes that say that an object is
    not there."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in absent:
            raise FileNotFoundError from error
        raise Away(_answered(code), verb) from error
    except BotoCoreError as error:
        reason = next((said for kind, said in REASONS if isinstance(error, kind)), type(error).__name__)
        raise Away(reason, verb) from error


def _answered(code: str) -> str:
    if code == "NoSuchBucket":
        return "there is no such bucket"
    known = code if re.fullmatch(r"[A-Za-z0-9.]{1,64}", code) else "an error"  # a foreign text goes into no sentence
    if code in FORBIDDEN:
        return f"the object store refuses this node ({known})"
    return f"the object store answers {known}"
