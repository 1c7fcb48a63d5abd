"""DICOMweb of a running node: Orthanc as its client in both directions, a study from upload to picture, memory.

Not covered: forms and refusals (tests/dicomweb); other DICOMweb clients than Orthanc, dicomweb-client and OHIF.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from dicomweb_client import DICOMwebClient
from PIL import Image
from pydicom import Dataset
from pydicom.uid import JPEG2000Lossless

from tests.dicomweb.site import as_file
from tests.e2e.conftest import assert_no_marker
from tests.films import Film, drawn, uid, wrap
from tests.peers import LOOPBACK, Orthanc
from tests.pipeline.slices import Scan, scan
from tests.served import LungnodeProcess

BARE = "[node]\nworkers = 0\n[receive]\nmin_free_bytes = 0\n"
BOUNDARY = "part-of-a-large-message"
FLAT_BYTES = 96 << 20  # by which the node may grow, whatever comes; an upload holds a few chunks of 1 MiB


@pytest.fixture(scope="module")
def bare() -> Iterator[LungnodeProcess]:
    """Receives and analyses nothing."""
    with LungnodeProcess(settings=BARE) as running:
        yield running


def url(node: LungnodeProcess) -> str:
    return f"http://{LOOPBACK}:{node.http_port}/dicom-web"


@pytest.fixture
def peer(orthanc: Orthanc, bare: LungnodeProcess) -> str:
    """What Orthanc calls the node."""
    orthanc.request("PUT", "/dicom-web/servers/lungnode", {"Url": url(bare), "HasDelete": False})
    return "/dicom-web/servers/lungnode"


def test_orthanc_sends_by_stow(orthanc: Orthanc, bare: LungnodeProcess, peer: str) -> None:
    films = [wrap(Film(drawn(n, 96), f"orthanc stows {n}", study="orthanc stows")) for n in range(2)]
    films.append(
        wrap(Film(drawn(2, 96), "orthanc stows j2k", study="orthanc stows", transfer_syntax=str(JPEG2000Lossless)))
    )
    ids = [_import(orthanc, ds) for ds in films]
    said = json.loads(orthanc.request("POST", f"{peer}/stow", {"Resources": ids, "Synchronous": True}))
    assert int(said["InstancesCount"]) == 3
    held = bare.rows("SELECT sop_uid FROM instances WHERE origin_association IS NOT NULL")
    assert {str(ds.SOPInstanceUID) for ds in films} <= {str(row["sop_uid"]) for row in held}


def test_orthanc_retrieves_by_wado(orthanc: Orthanc, bare: LungnodeProcess, peer: str) -> None:
    slices = scan(Scan("orthanc retrieves"))
    DICOMwebClient(url(bare)).store_instances(slices)
    study = str(slices[0].StudyInstanceUID)
    found = json.loads(
        orthanc.request("POST", f"{peer}/qido", {"Uri": "/studies", "Arguments": {"StudyInstanceUID": study}})
    )
    assert len(found) == 1
    orthanc.request("POST", f"{peer}/retrieve", {"Resources": [{"Study": study}], "Synchronous": True})
    got = {str(ds.SOPInstanceUID): ds for ds in orthanc.datasets(study)}
    assert set(got) == {str(ds.SOPInstanceUID) for ds in slices}
    assert all(np.array_equal(got[str(ds.SOPInstanceUID)].pixel_array, ds.pixel_array) for ds in slices)


def _import(orthanc: Orthanc, ds: Dataset) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, orthanc.http_port, timeout=60)
    connection.request("POST", "/instances", as_file(ds))
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return str(found["ID"])


def test_from_upload_to_picture(node: LungnodeProcess) -> None:
    """What was stored by STOW-RS is analysed; the results are found, read and shown by the same service."""
    film = wrap(Film(drawn(7, 512), "upload to picture"))
    study = str(film.StudyInstanceUID)
    client = DICOMwebClient(url(node))
    client.store_instances([film])
    node.wait_settled([study])
    series = {str(one["00080060"]["Value"][0]): one for one in client.search_for_series(study)}
    assert {"DX", "SR"} <= set(series), set(series)
    (found,) = client.search_for_studies(search_filters={"StudyInstanceUID": study})
    held = client.retrieve_study(study)
    assert found["00201208"]["Value"] == [len(held)] and len(client.retrieve_study_metadata(study)) == len(held)
    pictures = [ds for ds in held if "Rows" in ds and ds.Modality == "OT"]
    for ds in pictures:
        shown = client.retrieve_instance_rendered(
            study, str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID), media_types=("image/png",)
        )
        assert np.array_equal(np.asarray(Image.open(BytesIO(shown))), ds.pixel_array)
    assert_no_marker(node.logged(), "the logs")


def _large(megabytes: int, seed: str) -> tuple[bytes, bytes, int]:
    """A message with one instance of frames of a megabyte: what goes before them, after them, and its length."""
    ds = wrap(Film(drawn(1, 64), seed))
    ds.Rows, ds.Columns, ds.NumberOfFrames = 1024, 512, megabytes
    ds.PixelData = b"\1\0" * 8
    front = as_file(ds)
    place = front.rindex((16).to_bytes(4, "little") + b"\1\0" * 8)
    front = front[:place] + (megabytes << 20).to_bytes(4, "little")
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + front
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    return head, tail, len(head) + len(tail) + (megabytes << 20)


def _resident(node: LungnodeProcess) -> int:
    return int(node.processes()[0].memory_info().rss)


def _passes_flat(node: LungnodeProcess, megabytes: int, seed: str) -> None:
    """Up by STOW-RS and down by WADO-RS, while the memory of the node is watched."""
    node.http("/dicom-web/studies")
    before, peak, ended = _resident(node), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], _resident(node))

    watcher = threading.Thread(target=watch)
    watcher.start()
    head, tail, length = _large(megabytes, seed)
    piece = bytes(1 << 20)
    connection = http.client.HTTPConnection(LOOPBACK, node.http_port, timeout=300)
    kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    pieces = (one for part in ([head], (piece for _ in range(megabytes)), [tail]) for one in part)
    connection.request("POST", "/dicom-web/studies", pieces, {"Content-Type": kind, "Content-Length": str(length)})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    connection.request("GET", f"/dicom-web/studies/{uid('study', seed)}", headers={"Accept": "*/*"})
    answer, got = connection.getresponse(), 0
    while content := answer.read(1 << 20):
        got += len(content)
        if got < 4 << 20:
            time.sleep(0.05)  # a slow reader at first: what is not taken is not read ahead
    connection.close()
    ended.set()
    watcher.join()
    assert got > megabytes << 20
    assert peak[0] - before < FLAT_BYTES, f"{(peak[0] - before) >> 20} MiB more"


def test_memory_stays_flat(bare: LungnodeProcess) -> None:
    _passes_flat(bare, 300, "flat")


@pytest.mark.slow
def test_memory_stays_flat_at_two_gigabytes(bare: LungnodeProcess) -> None:
    _passes_flat(bare, 2048, "flatter")


def test_metadata_reads_no_pixels(bare: LungnodeProcess) -> None:
    """Of an object whose pixel data is hundreds of megabytes the header comes without its pages being read."""
    seed = "headers alone"
    head, tail, length = _large(200, seed)
    body = (one for part in ([head], (bytes(1 << 20) for _ in range(200)), [tail]) for one in part)
    connection = http.client.HTTPConnection(LOOPBACK, bare.http_port, timeout=300)
    kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    connection.request("POST", "/dicom-web/studies", body, {"Content-Type": kind, "Content-Length": str(length)})
    assert connection.getresponse().read()
    counters = bare.processes()[0].io_counters()
    (model,) = DICOMwebClient(url(bare)).retrieve_study_metadata(uid("study", seed))
    assert model["00280008"]["Value"] == [200] and "BulkDataURI" in model["7FE00010"]
    assert bare.processes()[0].io_counters().read_bytes - counters.read_bytes < 50 << 20
    connection.close()
