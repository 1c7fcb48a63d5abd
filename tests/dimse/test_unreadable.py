"""A database that cannot be read is no fault of an object: its sender is to come later, and keeps its association.

The fault is made in the process; a database that cannot be written is in tests/faults.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NoReturn

import pytest
from sqlalchemy.exc import OperationalError

from node.core import settings
from tests.dimse.station import film, station
from tests.sending import associate, store_encoded

READS = ("node.pipeline.intake.rows.known_instance", "node.pipeline.pressure.jobs.ready")


def _unreadable(*_: object) -> NoReturn:
    raise OperationalError("SELECT", None, Exception("disk I/O error"))


@pytest.mark.parametrize("read", READS)
def test_its_sender_comes_later_on_the_same_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    monkeypatch.setattr("node.pipeline.pressure.RECOUNT_SECONDS", 0.0)
    limits = dataclasses.replace(settings.load().limits, max_waiting_studies=3)
    one = film("unread")
    with station(tmp_path, limits=limits) as node:
        with associate(node.port, [(one.sop_class_uid, one.transfer_syntax_uid)]) as association:
            with monkeypatch.context() as fault:
                fault.setattr(read, _unreadable)
                assert store_encoded(association, one) == 0xA700
                assert node.files() == []
            assert store_encoded(association, one) == 0x0000
        assert node.stored(one.sop_instance_uid) == one.data_set
