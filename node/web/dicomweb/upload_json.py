"""One STOW-RS message of metadata in DICOM JSON with its bulk data (PS3.18 section 10.5.2, annex F) while it comes.

The metadata comes first and is small; each bulk data part is written to a temporary file of the archive as it comes, so
that memory does not grow with it. At the end each instance is encoded, its pixel data read from that file piece by
piece, and given to intake like one that came by C-STORE. Synchronous; one message, one caller.
"""

from __future__ import annotations

import io
import json
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset

from node.archive import Archive
from node.core.errors import BadDataSet, InternalError, LungnodeError
from node.core.study import Origin
from node.pipeline.header import is_uid, text_of
from node.pipeline.intake import Announced, Intake
from node.pipeline.pixel_bytes import EXPLICIT, ITEM_HEAD, LONGEST, PIECE
from node.pipeline.wholeness import PIXEL_DATA, UNDEFINED
from node.web.dicomweb.media import COMPRESSED, JSON, OCTETS, default_syntax, parsed
from node.web.dicomweb.multipart import Begin, Data, End, Malformed, Reader
from node.web.dicomweb.reasons import SyntaxNotAccepted, reason_of
from node.web.dicomweb.upload import FAILED, Accepted, Outcome, stored

logger = logging.getLogger(__name__)
MOST_METADATA_BYTES = 64 << 20
MOST_IN_MEMORY = 64 << 20  # bytes of bulk data of one instance besides its pixel data
MOST_PARTS = 10000


@dataclass
class _Bulk:
    """A part that has come. syntax: of compressed pixel data, else explicit little endian."""

    path: Path
    syntax: str
    size: int = 0


class JsonUpload:
    """``feed`` pieces, then ``close``; ``drop`` in every case."""

    def __init__(
        self, reader: Reader, intake: Intake, archive: Archive, accepted: Accepted, origin: Origin, study: str
    ) -> None:
        self._reader, self._intake, self._archive, self._accepted = reader, intake, archive, accepted
        self._origin, self._study = origin, study
        self._metadata, self._bulk = bytearray(), dict[str, _Bulk]()
        self._instances: list[Any] = []
        self._open: tuple[_Bulk, BinaryIO] | None = None
        self._in_metadata = False

    def feed(self, piece: bytes) -> None:
        """Malformed where the message is none."""
        for event in self._reader.feed(piece):
            if isinstance(event, Begin):
                self._begin(event)
            elif isinstance(event, End):
                self._end()
            else:
                self._add(event)

    def _begin(self, part: Begin) -> None:
        types = parsed(part.headers.get("content-type", OCTETS))
        if types[0].name == JSON:
            self._in_metadata = True
            return
        location = part.headers.get("content-location", "")
        if not location or location in self._bulk or len(self._bulk) >= MOST_PARTS:
            raise Malformed("A bulk data part has no Content-Location, or one that another part has.")
        compressed = types[0].name in COMPRESSED.values()
        usual = default_syntax(types[0].name) if compressed else EXPLICIT
        bulk = _Bulk(self._archive.new_temporary(), types[0].parameters.get("transfer-syntax", usual))
        self._bulk[location], self._open = bulk, (bulk, bulk.path.open("xb"))

    def _add(self, event: Data) -> None:
        if self._in_metadata:
            self._metadata += event.content
            if len(self._metadata) > MOST_METADATA_BYTES:
                raise Malformed(f"The metadata is larger than {MOST_METADATA_BYTES} bytes.")
        elif self._open is not None:
            bulk, file = self._open
            file.write(event.content)
            bulk.size += len(event.content)

    def _end(self) -> None:
        if self._in_metadata:
            self._in_metadata = False
            self._instances += _list(bytes(self._metadata))
            self._metadata.clear()
        elif self._open is not None:
            self._open[1].close()
            self._open = None

    def close(self) -> list[Outcome]:
        """What became of each instance, in their order."""
        self._reader.close()
        return [self._store(model) for model in self._instances]

    def drop(self) -> None:
        """Leave no temporary file."""
        if self._open is not None:
            self._open[1].close()
        for bulk in self._bulk.values():
            bulk.path.unlink(missing_ok=True)

    def _store(self, model: Any) -> Outcome:
        announced = Announced("", "", "")
        try:
            instance = _Instance(model, self._bulk)
            announced = instance.announced(self._study)
            if (refusal := self._accepted.refusal(announced)) is not None:
                raise refusal
            arriving = self._intake.begin(announced, self._origin)
            try:
                for piece in instance.encoded():
                    arriving.add(piece)
            except BaseException:
                self._intake.drop(arriving)
                raise
            receipt = self._intake.finish(arriving)
        except LungnodeError as error:
            return self._refused(announced, error)
        except Exception:
            logger.exception("instance.failed", extra={"fields": {"association": self._origin.association}})
            return self._refused(announced, InternalError(FAILED))
        return stored(announced, receipt)

    def _refused(self, announced: Announced, error: LungnodeError) -> Outcome:
        self._intake.refuse(announced, self._origin, reason_of(error), error)
        return Outcome(announced.sop_class_uid, announced.sop_instance_uid, error=error)


class _Instance:
    """One data set of the metadata. Raises BadDataSet."""

    def __init__(self, model: Any, bulk: dict[str, _Bulk]) -> None:
        self._bulk, self._in_memory = bulk, 0
        self._pixels: tuple[int, str, _Bulk] | None = None
        if not isinstance(model, dict):
            raise BadDataSet("The metadata is not a list of data sets.")
        for tag in PIXEL_DATA:
            said = model.get(f"{tag:08X}")
            if isinstance(said, dict) and "BulkDataURI" in said:
                self._pixels = tag, str(said.get("vr", "OW")), self._named(said["BulkDataURI"])
                model = {key: value for key, value in model.items() if key != f"{tag:08X}"}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pydicom's remarks quote values
                self._ds = Dataset.from_json(model, lambda _tag, _vr, uri: self._value(uri))
        except LungnodeError:
            raise
        except Exception as error:
            raise BadDataSet("The metadata of an instance cannot be understood.") from error

    def _named(self, uri: object) -> _Bulk:
        found = self._bulk.get(str(uri))
        if found is None:
            raise BadDataSet("The metadata names bulk data that is not in the message.")
        return found

    def _value(self, uri: str) -> bytes:
        found = self._named(uri)
        self._in_memory += found.size
        if self._in_memory > MOST_IN_MEMORY:
            raise BadDataSet("The instance has too much bulk data besides its pixel data.")
        return found.path.read_bytes()

    def announced(self, study: str) -> Announced:
        syntax = self._pixels[2].syntax if self._pixels else EXPLICIT
        if syntax not in (EXPLICIT, *COMPRESSED):
            raise SyntaxNotAccepted("Bulk data has a transfer syntax that is not one of compressed frames.")
        sop_class, instance = text_of(self._ds, "SOPClassUID"), text_of(self._ds, "SOPInstanceUID")
        if not is_uid(sop_class) or not is_uid(instance):
            raise BadDataSet("The metadata of an instance lacks its SOP class or its UID.")
        return Announced(syntax, sop_class, instance, study)

    def encoded(self) -> Iterator[bytes]:
        """Explicit little endian, in the order of tags."""
        ds = self._ds
        for tag in [tag for tag in ds.keys() if tag.group == 0x0002 or not tag.element]:  # noqa: SIM118
            del ds[tag]
        ds.SpecificCharacterSet = "ISO_IR 192"  # what JSON is in
        first = self._pixels[0] if self._pixels else LONGEST
        yield _written(ds[:first])
        if self._pixels:
            yield from _pixel_data(*self._pixels)
            yield _written(ds[first + 1 :])


def _pixel_data(tag: int, vr: str, bulk: _Bulk) -> Iterator[bytes]:
    vr = vr if vr in ("OB", "OW", "OF", "OD") else "OW"
    padding = bulk.size % 2
    if bulk.size + padding > LONGEST:
        raise BadDataSet("The pixel data is too long.")
    group, element = tag >> 16, tag & 0xFFFF
    if bulk.syntax == EXPLICIT:
        yield struct.pack("<HH2sHI", group, element, vr.encode(), 0, bulk.size + padding)
    else:  # one frame, one fragment
        yield struct.pack("<HH2sHI", group, element, b"OB", 0, UNDEFINED) + ITEM_HEAD.pack(0xFFFE, 0xE000, 0)
        yield ITEM_HEAD.pack(0xFFFE, 0xE000, bulk.size + padding)
    with bulk.path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
    yield bytes(padding)
    if bulk.syntax != EXPLICIT:
        yield ITEM_HEAD.pack(0xFFFE, 0xE0DD, 0)


def _written(ds: Dataset) -> bytes:
    made = DicomIO(io.BytesIO())
    made.is_implicit_VR, made.is_little_endian = False, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write_dataset(made, ds)
    except Exception as error:
        raise BadDataSet("The metadata of an instance cannot be encoded.") from error
    parent: io.BytesIO = made.parent  # type: ignore[assignment]
    return parent.getvalue()


def _list(content: bytes) -> list[Any]:
    with suppress(ValueError, RecursionError):
        found = json.loads(content)
        if isinstance(found, dict):
            return [found]
        if isinstance(found, list):
            return found
    raise Malformed("The metadata is no DICOM JSON.")
