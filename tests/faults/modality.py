"""What stands on both sides of the node under fault: a modality that never gives up, and a PACS that counts.

The modality sends each study again until all of it was acknowledged, as modalities do; what was acknowledged is all
that the node has promised. The PACS keeps the bytes under each SOP Instance UID and counts how often they were offered.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Self

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from tests.films import CR, Film, drawn, encoded, wrap
from tests.peers import LOOPBACK, free_port
from tests.sending import Encoded, associate, store_encoded

Study = tuple[Encoded, ...]
PICTURES = {size: drawn(1, size) for size in (64, 256, 512)}


def study(name: str, *, chest: bool = False) -> Study:
    """One chest film, which is analysed; or two films of a foot, which are refused with a report, the second of half a
    megabyte, so that a kill can meet it on its way."""
    if chest:
        return (encoded(wrap(Film(PICTURES[256], name, sop_class=CR))),)
    feet = (
        Film(PICTURES[size], f"{name} {size}", name, sop_class=CR, body_part="FOOT", description="Foot")
        for size in (64, 512)
    )
    return tuple(encoded(wrap(film)) for film in feet)


class Modality:
    """``send`` puts studies in the queue of a few senders; ``wait`` until each was acknowledged. port: asked each time,
    since a node that starts again has another one."""

    def __init__(self, port: Callable[[], int], senders: int = 3, pause_seconds: float = 0.3) -> None:
        self._port, self._pause = port, pause_seconds
        self._queue: queue.Queue[Study] = queue.Queue()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(senders)]
        self.acknowledged: dict[str, Encoded] = {}  # by SOP Instance UID
        self.refused: Counter[int] = Counter()  # status -> how often
        self.unanswered = 0  # associations that were not there, or broke

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(70)

    def send(self, studies: Sequence[Study]) -> None:
        for one in studies:
            self._queue.put(one)

    def wait(self, seconds: float) -> None:
        """An AssertionError when something was not acknowledged in time."""
        deadline = time.monotonic() + seconds
        while self._queue.unfinished_tasks:
            assert time.monotonic() < deadline, f"{self._queue.unfinished_tasks} studies were never taken"
            time.sleep(0.1)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                one = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            while not self._stop.is_set() and not self._all_taken(one):
                self._stop.wait(self._pause)
            self._queue.task_done()

    def _all_taken(self, one: Study) -> bool:
        """One association for what is not acknowledged yet."""
        missing = [instance for instance in one if instance.sop_instance_uid not in self.acknowledged]
        contexts = [(instance.sop_class_uid, instance.transfer_syntax_uid) for instance in missing]
        try:
            with associate(self._port(), contexts) as association:
                return all(self._is_taken(instance, store_encoded(association, instance)) for instance in missing)
        except (ConnectionError, OSError, ValueError, RuntimeError):
            self.unanswered += 1
            return False

    def _is_taken(self, instance: Encoded, status: int | None) -> bool:
        if status == 0x0000:
            self.acknowledged[instance.sop_instance_uid] = instance
        elif status is not None:
            self.refused[status] += 1
        return status == 0x0000


class CountingPacs:
    """Takes everything. offered: C-STOREs by SOP Instance UID; held: the different bytes that came under it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.offered: Counter[str] = Counter()
        self.held: dict[str, set[bytes]] = {}
        self._server: Any = None

    @property
    def address(self) -> str:
        return f"COUNTING@{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        ae = AE("COUNTING")
        ae.supported_contexts = AllStoragePresentationContexts
        ae.add_supported_context(Verification)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store)]
        self._server = ae.start_server((LOOPBACK, self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        self.held.setdefault(uid, set()).add(request.DataSet.getvalue())
        self.offered[uid] += 1
        return 0x0000
