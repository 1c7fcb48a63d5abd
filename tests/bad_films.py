"""Input that a clinic really sends and that must not hurt the node: broken, lying, huge, or simply not a chest film.

``broken()`` are instances that cannot or need not be understood; ``unsuited()`` are sound instances that the node must
store, refuse to judge, and answer with a report that says why. Each has a name for the test's id.
"""

from __future__ import annotations

import dataclasses
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
)
from pynetdicom.dsutils import encode

from tests.films import CR, MARKER, Film, Picture, drawn, encoded, uid, wrap
from tests.sending import Encoded


@dataclass(frozen=True)
class Bad:
    """``instances`` are sent on one association. ``study_uid``: the study they claim, empty when they name none."""

    name: str
    instances: tuple[Encoded, ...]
    study_uid: str = ""


@dataclass(frozen=True)
class Unsuited:
    """``words``: at least one of them stands in the sentence of the refusal (lower case)."""

    name: str
    instance: Encoded
    study_uid: str
    words: tuple[str, ...]


def broken(size: int = 256) -> list[Bad]:
    """All small ones; ``three_hundred_megabytes`` is separate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of exactly what is meant here
        return _broken(drawn(1, size))


def _broken(picture: Picture) -> list[Bad]:
    def one(name: str, change: str = "", value: object = None) -> Bad:
        film = Film(picture, f"bad {name}")
        ds = wrap(film)
        if change and value is None:
            del ds[change]
        elif change:
            setattr(ds, change, value)
        return Bad(name, (_encode(ds),), film.study_uid)

    def cut(name: str, share: float) -> Bad:
        bad = one(name)
        whole = bad.instances[0]
        short = dataclasses.replace(whole, data_set=whole.data_set[: int(len(whole.data_set) * share)])
        return dataclasses.replace(bad, instances=(short,))

    def patched(name: str, old: bytes, new: bytes) -> Bad:
        bad = one(name)
        whole = bad.instances[0]
        assert old in whole.data_set, name
        changed = dataclasses.replace(whole, data_set=whole.data_set.replace(old, new, 1))
        return dataclasses.replace(bad, instances=(changed,))

    def bytes_only(name: str, content: bytes) -> Bad:
        bad = one(name)
        return dataclasses.replace(
            bad, instances=(dataclasses.replace(bad.instances[0], data_set=content),), study_uid=""
        )

    noise = np.random.default_rng(7).bytes(5000)
    return [
        cut("truncated in the pixels", 0.6),
        cut("truncated in the header", 0.004),
        bytes_only("noise", noise),
        bytes_only("one byte", b"\x08"),
        patched("Rows as text", b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00LO\x02\x00"),
        patched("a VR that does not exist", b"\x28\x00\x11\x00US\x02\x00", b"\x28\x00\x11\x00ZZ\x02\x00"),
        patched("an element longer than the file", b"\x28\x00\x00\x01US\x02\x00", b"\x28\x00\x00\x01US\xff\x7f"),
        patched("an Instance Number that is a word", b"\x20\x00\x13\x00IS\x02\x001 ", b"\x20\x00\x13\x00IS\x02\x00xy"),
        one("no Patient ID", "PatientID"),
        one("an empty Patient ID", "PatientID", ""),
        one("no Study Instance UID", "StudyInstanceUID"),
        one("no Series Instance UID", "SeriesInstanceUID"),
        one("no SOP Instance UID", "SOPInstanceUID"),
        one("no SOP Class UID", "SOPClassUID"),
        one("another SOP Instance UID than the command says", "SOPInstanceUID", uid("instance", "another")),
        one("a Study UID that is a path", "StudyInstanceUID", "../../../../etc/passwd"),
        one("absurd Rows and Columns", "Rows", 65535),
        one("no Rows", "Rows"),
        one("zero Columns", "Columns", 0),
        one("17 bits stored in 16", "BitsStored", 17),
        one("empty pixel data", "PixelData", b""),
        one("no pixel data", "PixelData"),
        one("an unknown photometric interpretation", "PhotometricInterpretation", "GREENISH"),
        patched("an unknown character set", b"ISO_IR 192", b"ISO_IR 999"),
        patched("bytes that are not UTF-8", b"Zebramarker", b"Z\xe4bramarke\xff"),
        one("a character set that nobody needs", "SpecificCharacterSet", "ISO 2022 IR 100"),
        _two_patients(picture),
        _text_report(),
        _deflate_bomb(),
    ]


def three_hundred_megabytes() -> Bad:
    """A data set of 314 MB that is in order: a film of 12288 x 12800 pixels, the drawn one enlarged."""
    picture = np.kron(drawn(3, 256), np.ones((50, 50), np.uint16))[:12288]
    film = Film(picture, "bad huge", spacing_mm=0.03)
    return Bad("300 MB", (encoded(wrap(film)),), film.study_uid)


def unsuited(size: int = 256) -> list[Unsuited]:
    """Sound instances that are no frontal chest film, or none that can be judged."""
    picture = drawn(2, size)

    def film(name: str, words: tuple[str, ...], instance: Encoded | None = None, **changes: object) -> Unsuited:
        base = Film(picture, f"unsuited {name}", sop_class=CR)
        changed = dataclasses.replace(base, **changes)  # type: ignore[arg-type]
        return Unsuited(name, instance or encoded(wrap(changed)), changed.study_uid, words)

    return [
        film("lateral by view", ("lateral", "frontal"), view="LL", description="Chest"),
        film("lateral by description", ("lateral",), view="", description="Thorax lateral"),
        film("knee", ("knee", "not a chest", "body part"), body_part="KNEE", view="AP", description="Knee AP"),
        film("3x3 pixels", ("3",), picture=picture[:3, :3].copy()),
        film("NaN rescale", ("nan", "finite", "number", "rescale"), _nan_rescale(picture)),
        film("blank", ("uniform", "blank", "constant", "contrast", "same"), picture=np.zeros_like(picture)),
        _localizer(picture),
    ]


def _encode(ds: Dataset) -> Encoded:
    """``films.encoded`` for data sets that lack what it reads; the command set names what the data set should have."""
    meta = ds.file_meta
    content = encode(ds, False, True)
    assert content is not None
    return Encoded(meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, ExplicitVRLittleEndian, content)


def _two_patients(picture: Picture) -> Bad:
    films = [Film(picture, f"bad two patients {n}", "bad two patients") for n in range(2)]
    other = dataclasses.replace(MARKER, patient_id="PIDMARKER88231", patient_name="Yakmarker^Ibexmarker")
    films[1] = dataclasses.replace(films[1], identity=other)
    return Bad("two patients in one study", tuple(encoded(wrap(film)) for film in films), films[0].study_uid)


def _text_report() -> Bad:
    """A report of somebody else's: no image, yet a class that the node takes."""
    ds = wrap(Film(drawn(1, 64), "bad report"))
    for keyword in ("PixelData", "Rows", "Columns", "PhotometricInterpretation"):
        del ds[keyword]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    ds.Modality, ds.ValueType, ds.ContinuityOfContent = "SR", "CONTAINER", "SEPARATE"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    return Bad("not an image", (encoded(ds),), str(ds.StudyInstanceUID))


def _deflate_bomb() -> Bad:
    """A few hundred kB that inflate to 300 MB of zero pixels behind an honest header."""
    whole = _encode(wrap(Film(drawn(1, 64), "bad deflate bomb")))
    at = whole.data_set.rindex(b"\xe0\x7f\x10\x00OW")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [packer.compress(whole.data_set[:at] + b"\xe0\x7f\x10\x00OW\0\0" + (300 << 20).to_bytes(4, "little"))]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(300)]
    content = b"".join([*parts, packer.flush()])
    content += b"\0" * (len(content) % 2)
    bomb = dataclasses.replace(whole, transfer_syntax_uid=DeflatedExplicitVRLittleEndian, data_set=content)
    return Bad("a deflated data set that explodes", (bomb,), uid("study", "bad deflate bomb"))


def _nan_rescale(picture: Picture) -> Encoded:
    ds = wrap(Film(picture, "unsuited NaN rescale", sop_class=CR))
    ds.RescaleSlope = "9.125"
    whole = encoded(ds)
    assert whole.data_set.count(b"9.125 ") == 1
    return dataclasses.replace(whole, data_set=whole.data_set.replace(b"9.125 ", b"NaN   "))


def _localizer(picture: Picture) -> Unsuited:
    """The scout view of a CT: a frontal chest projection under the CT SOP class."""
    film = Film(picture, "unsuited localizer", sop_class=CR, description="Topogram")
    ds = wrap(film)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-250, 0, 0], [1, 0, 0, 0, 0, -1]
    ds.PixelSpacing, ds.FrameOfReferenceUID = [1, 1], uid("frame", "localizer")
    return Unsuited("CT localizer", encoded(ds), film.study_uid, ("localizer",))
