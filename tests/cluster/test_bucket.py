"""Nodes on one PostgreSQL and one bucket, each with a folder of its own: a receiver and a worker that also shows.

What was acknowledged is in the bucket, whatever is killed or refused on the way; the worker, on which nothing was ever
received, analyses (with models that stand in), delivers and shows it. moto is the store. Not covered: machines that are
really apart; an analysis that meets a store which is away (``test_unwritable`` has the disk that is).
"""

from __future__ import annotations

import contextlib
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.archive.bucket import SETTLED, BucketArchive
from node.archive.folder import RECEIVED
from node.archive.objects import ObjectStore
from node.db.session import Database
from node.pipeline import strays
from tests.archive.test_bucket import AT_ONCE, BOUND
from tests.faults.kills import STANDIN_SETTINGS
from tests.faults.modality import CountingPacs, study
from tests.faults.struck import MODELS
from tests.films import CR, Film, drawn, encoded, uid, wrap, write
from tests.object_store import KEYS, Between, Moto
from tests.peers import LOOPBACK, Ran, storescu, wait_until
from tests.postgres import Postgres
from tests.sending import Encoded, store
from tests.served import LungnodeProcess

URL = "s3://images/hospital"
ONE = f"{STANDIN_SETTINGS}\n[receive]\nprocesses = 1\n"


@dataclass
class Ward:
    moto: Moto
    between: Between
    pacs: CountingPacs
    receiver: LungnodeProcess
    worker: LungnodeProcess

    def paths(self, instances: list[Encoded]) -> list[str]:
        """Of their objects, as the rows say."""
        rows = self.receiver.rows("SELECT sop_uid, path FROM instances")
        known = {row["sop_uid"]: row["path"] for row in rows}
        return [known[one.sop_instance_uid] for one in instances if one.sop_instance_uid in known]

    def holds(self, instances: list[Encoded]) -> bool:
        """Whether the bucket has each of them under the name that its row gives, byte by byte."""
        paths = self.paths(instances)
        assert len(paths) == len(instances)
        found = [self.moto.content(f"hospital/{path}") for path in paths]
        return all(content.endswith(one.data_set) for content, one in zip(found, instances, strict=True))


def settings_of(between: Between) -> dict[str, str]:
    return {"LUNGNODE_ARCHIVE_URL": URL, "LUNGNODE_ARCHIVE_ENDPOINT": between.endpoint, **KEYS}


@pytest.fixture(scope="module")
def ward(postgres: Postgres) -> Iterator[Ward]:
    with contextlib.ExitStack() as stack:
        moto = stack.enter_context(Moto())
        between, pacs = stack.enter_context(Between(moto)), stack.enter_context(CountingPacs())
        environment = {
            **MODELS,
            **settings_of(between),
            "LUNGNODE_DATABASE_URL": postgres.url(postgres.made()),
        }

        def node(role: str) -> LungnodeProcess:
            made = LungnodeProcess("--role", role, settings=ONE, send_to=[pacs.address], environment=environment)
            return stack.enter_context(made)

        with ThreadPoolExecutor(2) as both:
            receiver, worker = both.map(node, ("receiver", "worker,web"))
        yield Ward(moto, between, pacs, receiver, worker)


def test_success_is_answered_when_the_bucket_has_it(ward: Ward, tmp_path: Path) -> None:
    film = Film(drawn(1, 64), "slow", "slow", sop_class=CR, body_part="FOOT", description="Foot")
    first, file = encoded(wrap(film)), write(wrap(film), tmp_path)
    arrived, go_on = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        if method == "PUT" and "/received/" in path:
            arrived.set()
            assert go_on.wait(20)

    sent: list[Ran] = []
    ward.between.before = hold
    sending = threading.Thread(target=lambda: sent.append(storescu(ward.receiver.dicom_port, [file])))
    sending.start()
    assert arrived.wait(20)
    sending.join(0.5)
    assert sent == [] and ward.paths([first]) == [] and ward.moto.names("hospital/received") == []
    go_on.set()
    sending.join(20)
    ward.between.before = lambda *_: None
    assert [ran.code for ran in sent] == [0] and ward.holds([first])


def test_a_store_that_refuses_is_said_and_nothing_is_acknowledged(ward: Ward) -> None:
    sent = study("refused")
    ward.between.refuses = "SlowDown"
    assert set(store(ward.receiver.dicom_port, sent)) == {0xA700}
    assert ward.paths(sent) == []
    wait_until(lambda: ward.receiver.http("/health/ready")[0] == 503, 30, "the node says so")
    assert "The archive cannot be written (the object store answers " in ward.receiver.http("/health/ready")[1]
    ward.between.refuses = ""
    wait_until(lambda: ward.receiver.http("/health/ready")[0] == 200, 30, "and that it is over")
    assert set(store(ward.receiver.dicom_port, sent)) == {0x0000} and ward.holds(sent)


def test_what_one_node_received_another_analyses_delivers_and_shows(ward: Ward) -> None:
    sent = study("whole")
    assert set(store(ward.receiver.dicom_port, sent)) == {0x0000}
    ward.worker.wait_settled([uid("study", "whole")], 60)
    delivered = ward.receiver.rows(
        "SELECT outputs.sop_uid, path FROM outputs JOIN deliveries ON output_id = outputs.id JOIN analyses"
        " ON analyses.id = analysis_id JOIN studies ON studies.id = study_id"
        " WHERE study_uid = ? AND deliveries.state = 'delivered'",
        uid("study", "whole"),
    )
    assert delivered and {row["sop_uid"] for row in delivered} <= set(ward.pacs.held)
    assert {f"hospital/{row['path']}" for row in delivered} <= set(ward.moto.names("hospital/results"))
    cache = ward.worker.data / "cache"
    fetched = [cache / path for path in ward.paths(sent)]
    assert any(path.exists() for path in fetched)
    for path in fetched:
        path.unlink(missing_ok=True)
    for one, path in zip(sent, ward.paths(sent), strict=True):
        assert shown(ward.worker, uid("study", "whole"), one).find(one.data_set[-1000:]) > 0
        assert (cache / path).read_bytes().endswith(one.data_set)


def shown(node: LungnodeProcess, study_uid: str, one: Encoded) -> bytes:
    """As DICOMweb has it."""
    (row,) = node.rows(
        "SELECT series_uid FROM series JOIN instances ON series.id = series_id WHERE sop_uid = ?", one.sop_instance_uid
    )
    url = f"http://{LOOPBACK}:{node.http_port}/dicom-web/studies/{study_uid}/series/{row['series_uid']}"
    accept = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    request = urllib.request.Request(f"{url}/instances/{one.sop_instance_uid}", headers=accept)
    with urllib.request.urlopen(request, timeout=20) as answer:
        content: bytes = answer.read()
    return content


def test_a_receiver_that_dies_between_bucket_and_database_has_acknowledged_nothing(ward: Ward, tmp_path: Path) -> None:
    (sent, _), dead = study("killed"), threading.Event()
    before = set(ward.moto.names("hospital/received"))

    def kill(method: str, path: str) -> None:
        if method == "PUT" and "/received/" in path and not dead.is_set():
            dead.set()
            ward.receiver.kill9_everything()

    ward.between.after = kill
    answers = list[int | None]()
    with contextlib.suppress(AssertionError, RuntimeError):  # there is no association to release
        answers = store(ward.receiver.dicom_port, [sent])
    assert dead.is_set() and 0x0000 not in answers
    ward.between.after = lambda *_: None
    (left,) = set(ward.moto.names("hospital/received")) - before
    ward.receiver.start()
    assert ward.paths([sent]) == []
    assert store(ward.receiver.dicom_port, [sent]) == [0x0000] and ward.holds([sent])
    with pytest.MonkeyPatch.context() as patched:
        for name, value in KEYS.items():
            patched.setenv(name, value)
        settled = SETTLED | {RECEIVED: AT_ONCE[RECEIVED]}  # results of this study are being written
        archive = BucketArchive(tmp_path, True, 0, ObjectStore(URL, ward.moto.endpoint), BOUND, settled)
    database = Database(ward.receiver.environment["LUNGNODE_DATABASE_URL"])
    assert strays.clear_bucket(database, archive, lambda: True) == 1
    database.close()
    assert left not in ward.moto.names("hospital/received") and ward.holds([sent])
