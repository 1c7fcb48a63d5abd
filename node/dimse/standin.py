"""A stand-in PACS for demonstrations: takes every object and writes it to a folder. Loopback only."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pynetdicom import AE, _config, evt

from node.dimse import contexts


@dataclass(frozen=True)
class Received:
    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    calling_aet: str


class StandIn:
    """A context manager; ``port`` is the port it listens on, ``received`` what has come so far."""

    def __init__(self, folder: Path, aet: str = "STANDIN") -> None:
        self._folder = folder
        self._ae = AE(ae_title=aet)
        self._guard = threading.Lock()
        self._server: Any = None
        self.received: list[Received] = []

    def __enter__(self) -> StandIn:
        _config.LOG_HANDLER_LEVEL = "none"
        self._folder.mkdir(parents=True, exist_ok=True)
        for sop_class in contexts.STORAGE:
            self._ae.add_supported_context(sop_class, contexts.TRANSFER_SYNTAXES)
        self._ae.add_supported_context(contexts.VERIFICATION)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store)]
        self._server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def _store(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        with self._guard:
            kind = str(dataset.get("Modality", "") or "object").lower()
            path = self._folder / f"{len(self.received) + 1:02d}-{kind if kind.isalnum() else 'object'}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            self.received.append(
                Received(
                    path, str(dataset.SOPInstanceUID), str(dataset.SOPClassUID), event.assoc.requestor.ae_title.strip()
                )
            )
        return 0x0000
