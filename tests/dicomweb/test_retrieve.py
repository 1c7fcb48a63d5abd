"""WADO-RS instances, frames, metadata and bulk data: the same pixels in every form that can be asked for.

Not covered: pictures (test_rendered.py); objects of gigabytes, whose memory tests/e2e/test_dicomweb.py watches; videos.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from tests.admitted import token
from tests.dicomweb.conftest import LOSSY, SYNTAXES, film_in, instance, slices
from tests.dicomweb.site import Site, as_file
from tests.films import Film, drawn, encoded, uid, wrap
from tests.peers import program, run

EXPLICIT, JLS, J2K, RLE = SYNTAXES["explicit"], SYNTAXES["jls"], SYNTAXES["j2k"], SYNTAXES["rle"]
STUDY = uid("study", "web syntaxes")
PIXELS = wrap(Film(drawn(1, 96), "pixels")).pixel_array


def dicom(syntax: str = "") -> str:
    return 'multipart/related; type="application/dicom"' + (f"; transfer-syntax={syntax}" if syntax else "")


def octets(syntax: str = "") -> str:
    return 'multipart/related; type="application/octet-stream"' + (f"; transfer-syntax={syntax}" if syntax else "")


def files(web: Site, path: str, accept: str) -> list[Dataset]:
    answered = web.get(path, accept)
    assert answered.status == 200, answered.text
    return [dcmread(BytesIO(content)) for _, content in answered.parts()]


@pytest.mark.parametrize("name", SYNTAXES)
@pytest.mark.parametrize("asked", ["", "*", EXPLICIT, JLS, J2K, RLE])
def test_an_instance_in_each_syntax_has_the_same_pixels_and_header(web: Site, name: str, asked: str) -> None:
    (ds,) = files(web, instance(f"web {name}", "web syntaxes"), dicom(asked))
    given = str(ds.file_meta.TransferSyntaxUID)
    stored = SYNTAXES[name]
    of_the_web = stored if name not in ("implicit", "big") else EXPLICIT
    assert given == {"": EXPLICIT, "*": of_the_web}.get(asked, asked)
    assert np.array_equal(ds.pixel_array, PIXELS)
    source = film_in(name)
    skipped = {"PixelData", "SOPInstanceUID", "SeriesInstanceUID"}
    for element in source:
        if element.keyword not in skipped:
            assert ds[element.tag].value == element.value, element.keyword
    assert ds.SOPInstanceUID == source.SOPInstanceUID


def test_what_is_stored_goes_out_byte_for_byte(web: Site) -> None:
    path = instance("web jls", "web syntaxes")
    held = web.rows(f"SELECT path FROM instances WHERE sop_uid = '{uid('instance', 'web jls')}'")[0]["path"]
    answered = web.get(path, "application/dicom; transfer-syntax=*")
    assert answered.headers["content-type"] == f"application/dicom; transfer-syntax={JLS}"
    assert answered.body == web.archive.path(held).read_bytes()


def test_lossy_goes_out_as_it_is_where_no_syntax_is_asked_for(web: Site) -> None:
    path = instance("web lossy", "web lossy")
    (stored,) = files(web, path, dicom())
    (plain,) = files(web, path, dicom(EXPLICIT))
    assert stored.file_meta.TransferSyntaxUID == LOSSY and plain.file_meta.TransferSyntaxUID == EXPLICIT
    assert np.array_equal(stored.pixel_array, plain.pixel_array) and plain.LossyImageCompression == "01"


@pytest.mark.parametrize(
    "accept, status",
    [
        (dicom("1.2.840.10008.1.2.4.50"), 406),
        (dicom("1.2.840.10008.1.2"), 406),
        ("image/png", 406),
        ("application/dicom;;;=", 400),
        ("x" * 10000, 400),
        (f"{dicom('1.2.840.10008.1.2.4.50')}, {dicom(JLS)}", 200),
        ('multipart/related; type="image/png", */*;q=0.1', 200),
    ],
)
def test_what_cannot_be_made_is_refused_in_words(web: Site, accept: str, status: int) -> None:
    answered = web.get(instance("web explicit", "web syntaxes"), accept)
    assert answered.status == status
    if status != 200:
        assert answered.text.endswith(".\n")


def test_a_study_and_a_series(web: Site) -> None:
    whole = files(web, f"/studies/{STUDY}", dicom())
    assert {str(ds.SOPInstanceUID) for ds in whole} == {uid("instance", f"web {name}") for name in SYNTAXES}
    series = files(web, f"/studies/{uid('study', 'web ct')}/series/{uid('series', 'web ct')}", dicom("*"))
    assert {str(ds.SOPInstanceUID) for ds in series} == {str(ds.SOPInstanceUID) for ds in slices()}
    assert all(np.array_equal(a.pixel_array, b.pixel_array) for a, b in zip(series, slices(), strict=True))


@pytest.mark.parametrize("name", SYNTAXES)
def test_frames(web: Site, name: str) -> None:
    path = f"{instance(f'web {name}', 'web syntaxes')}/frames/1"
    for accept in ("", octets(), octets(EXPLICIT)):
        ((headers, content),) = web.get(path, accept).parts()
        assert headers["content-type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
        assert content == PIXELS.astype("<u2").tobytes()
    compressed = ('multipart/related; type="image/jls"', f'multipart/related; type="image/jp2"; transfer-syntax={J2K}')
    for accept in (octets("*"), *compressed):
        ((headers, content),) = web.get(path, accept).parts()
        media, _, syntax = headers["content-type"].partition("; transfer-syntax=")
        assert np.array_equal(_decoded(content, syntax), PIXELS), (accept, media)
    single = web.get(path, "application/octet-stream")
    assert single.headers["content-type"].startswith("application/octet-stream") and len(single.body) == PIXELS.nbytes


def _decoded(content: bytes, syntax: str) -> np.ndarray:
    if syntax == EXPLICIT:
        return np.frombuffer(content, "<u2").reshape(PIXELS.shape)
    ds = wrap(Film(drawn(1, 96), "decoded"))
    ds.PixelData, ds.file_meta.TransferSyntaxUID = encapsulate([content]), UID(syntax)
    ds["PixelData"].is_undefined_length = True
    return dcmread(BytesIO(as_file(ds))).pixel_array


def test_frames_of_several(web: Site) -> None:
    (whole,) = files(web, enhanced(web), dicom())
    for listed in ("1", "6,2", "3,3", "1,2,3,4,5,6"):
        parts = web.get(f"{enhanced(web)}/frames/{listed}", octets()).parts()
        wanted = [whole.pixel_array[int(number) - 1].tobytes() for number in listed.split(",")]
        assert [content for _, content in parts] == wanted


def enhanced(web: Site) -> str:
    study = uid("study", "web enhanced")
    (found,) = web.get(f"/studies/{study}/instances").json()
    return str(found["00081190"]["Value"][0]).removeprefix(web.url)


@pytest.mark.parametrize("listed, status", [("0", 400), ("7", 404), ("1,x", 400), ("1,,2", 400), ("9" * 30, 400)])
def test_frames_that_are_not_there(web: Site, listed: str, status: int) -> None:
    answered = web.get(f"{enhanced(web)}/frames/{listed}")
    assert answered.status == status and answered.text.endswith(".\n")


def test_frames_of_single_bits_begin_at_a_byte(web: Site) -> None:
    random = np.random.default_rng(1)
    bits = random.integers(0, 2, (3, 5, 7), dtype=np.uint8)
    ds = wrap(Film(drawn(1, 64), "web bits"))
    ds.NumberOfFrames, ds.Rows, ds.Columns = 3, 5, 7
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    ds.PixelData = packed + bytes(len(packed) % 2)
    web.keep(encoded(ds))
    parts = web.get(f"{instance('web bits', 'web bits')}/frames/1,2,3", octets()).parts()
    for plane, (_, content) in zip(bits, parts, strict=True):
        unpacked = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[:35].reshape(5, 7)
        assert np.array_equal(unpacked, plane)


@pytest.mark.parametrize("name", SYNTAXES)
def test_metadata_is_the_header_and_names_the_pixels(web: Site, name: str) -> None:
    path = instance(f"web {name}", "web syntaxes")
    (model,) = web.get(f"{path}/metadata").json()
    uri = model["7FE00010"]["BulkDataURI"]
    assert uri == f"{web.url}{path}/bulkdata/7FE00010" and "InlineBinary" not in json.dumps(model)
    read = Dataset.from_json({tag: value for tag, value in model.items() if tag not in ("7FE00010", "00083002")})
    for element in film_in(name):
        if element.keyword != "PixelData":
            assert read[element.tag].value == element.value, element.keyword
    assert model["00083002"]["Value"] == [SYNTAXES[name]]


def test_bulk_data_by_its_address(web: Site) -> None:
    (model,) = web.get(f"{instance('web explicit', 'web syntaxes')}/metadata").json()
    ((_, content),) = web.get(model["7FE00010"]["BulkDataURI"].removeprefix(web.url)).parts()
    assert content == PIXELS.astype("<u2").tobytes()
    ((headers, content),) = web.get(f"{instance('web jls', 'web syntaxes')}/bulkdata/7FE00010", octets("*")).parts()
    assert headers["content-type"].startswith("image/jls") and np.array_equal(_decoded(content, JLS), PIXELS)


def test_bulk_data_within_sequences(web: Site) -> None:
    ds = wrap(Film(drawn(1, 64), "web nested"))
    item, inner = Dataset(), Dataset()
    inner.add_new(0x00091001, "OB", bytes(range(256)) * 8)
    inner.add_new(0x00090010, "LO", "TEST")
    item.ReferencedImageSequence = [Dataset(), inner]
    ds.SourceImageSequence = [item]
    web.keep(encoded(ds))
    path = instance("web nested", "web nested")
    (model,) = web.get(f"{path}/metadata").json()
    uri = model["00082112"]["Value"][0]["00081140"]["Value"][1]["00091001"]["BulkDataURI"]
    assert web.get(uri.removeprefix(web.url), "application/octet-stream").body == bytes(range(256)) * 8
    for wrong in ("00091001", "00082112/0/00081140/2/00091001", "../../x", "00100010"):
        assert web.get(f"{path}/bulkdata/{wrong}").status == 404


def test_metadata_of_a_study_in_json_and_xml(web: Site) -> None:
    path = f"/studies/{STUDY}/metadata"
    models = web.get(path).json()
    documents = web.get(path, 'multipart/related; type="application/dicom+xml"').parts()
    assert len(models) == len(documents) == 7
    for model, (_, document) in zip(models, documents, strict=True):
        assert model["00080018"]["Value"][0].encode() in document and b"<BulkData uri=" in document


def test_immutable_things_are_said_to_be_so(web: Site) -> None:
    path = f"{instance('web explicit', 'web syntaxes')}/frames/1"
    first = web.get(path)
    assert "immutable" in first.headers["cache-control"]
    again = web.get(path, **{"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    study = web.get(f"/studies/{STUDY}/metadata")
    assert study.headers["cache-control"] == "private, no-cache"
    assert web.get(f"/studies/{STUDY}/metadata", **{"If-None-Match": f"W/{study.headers['etag']}"}).status == 304
    assert web.get(path, octets("*"), **{"If-None-Match": first.headers["etag"]}).status == 200, "another form"


@pytest.mark.parametrize(
    "path, status",
    [
        ("/studies/1.2.3", 404),
        (f"/studies/{STUDY}/series/1.2.3", 404),
        (f"/studies/{STUDY}/series/1.2.3/instances/1.2.3/metadata", 404),
        ("/studies/%2e%2e%2f%2e%2e%2fetc%2fpasswd/metadata", 404),
        ("/studies/" + "1." * 60 + "1/metadata", 400),
        ("/studies/1.2.3%0d%0aX-Injected:1/metadata", 404),
    ],
)
def test_what_is_not_here(web: Site, path: str, status: int) -> None:
    answered = web.get(path)
    assert answered.status == status and "x-injected" not in answered.headers


def test_a_host_that_is_none_gets_no_addresses(web: Site) -> None:
    asked = {"Host": 'evil"/><script>', "Authorization": f"Bearer {token(web.database, 'view')}"}
    answered = web.get(f"/studies/{STUDY}/metadata", **asked)
    assert answered.status == 400


def test_dicomweb_client_retrieves(web: Site) -> None:
    client = DICOMwebClient(web.url)
    study, series = uid("study", "web ct"), uid("series", "web ct")
    first = slices()[0]
    assert len(client.retrieve_study(study)) == len(client.retrieve_series(study, series)) == 6
    one = client.retrieve_instance(study, series, first.SOPInstanceUID)
    assert np.array_equal(one.pixel_array, first.pixel_array)
    for media in (None, (("application/octet-stream", "*"),), (("image/jls", JLS),)):
        frames = client.retrieve_instance_frames(study, series, first.SOPInstanceUID, [1], media_types=media)
        assert len(frames) == 1 and frames[0]
    assert frames[0] != first.PixelData
    metadata = client.retrieve_series_metadata(study, series)
    assert Dataset.from_json(metadata[0]).PatientID == "P-TAROU"
    (bulk,) = client.retrieve_bulkdata(metadata[0]["7FE00010"]["BulkDataURI"])
    assert bulk == first.PixelData
    lossy = instance("web lossy", "web lossy").split("/")
    (frame,) = client.retrieve_instance_frames(lossy[2], lossy[4], lossy[6], [1], media_types=(("image/jpeg", LOSSY),))
    assert frame[:2] == b"\xff\xd8"


def test_dcmtk_reads_what_was_transcoded(web: Site, tmp_path: Any) -> None:
    for name in ("implicit", "big", "deflated"):
        for syntax in (EXPLICIT, JLS):
            (tmp_path / "a.dcm").write_bytes(
                web.get(instance(f"web {name}", "web syntaxes"), f"application/dicom; transfer-syntax={syntax}").body
            )
            ran = run([program("dcmdump"), tmp_path / "a.dcm"])
            assert ran.code == 0 and not ran.err, ran.text
