"""Procrastinate as queue engine: a task for each analysis that is READY, made by the transaction that makes it READY.

A task only names a job of the ledger; whoever gets it claims the job there. So retries come by our back-off table (a
job that is given back gets a new task for its time), and a worker that dies is noticed by the lease of its node, whose
end makes its jobs READY. A queue is named by the models and settings that its jobs ask for, so a worker with others
gets none of them. Priority is the moment of a job's turn, which holds its ageing (``db.jobs``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from queue import SimpleQueue

import procrastinate
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status
from procrastinate.schema import SchemaManager
from sqlalchemy import Connection

from node.db import handed
from node.db.handed import TASK, Ready
from node.db.session import Database
from node.queue.worker import Loop

logger = logging.getLogger(__name__)
BEGAN = datetime(2020, 1, 1, tzinfo=UTC)  # priorities are whole numbers of 32 bits: seconds before a turn, from here
POLL_SECONDS, STOP_SECONDS, AGAIN_SECONDS = 1.0, 0.2, 1.0
HEARTBEAT_SECONDS, SILENT_SECONDS = 5.0, 30.0


def queue_of(pipeline: str) -> str:
    return f"analyse-{pipeline[:16]}"


class Procrastinate:
    """pipeline: which models and settings this node's workers have."""

    def __init__(self, database: Database, pipeline: str) -> None:
        self._database, self._queue, self._rescued_at = database, queue_of(pipeline), float("-inf")
        url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(conninfo=url, min_size=1, max_size=4, timeout=5.0)
        )
        logging.getLogger("procrastinate").setLevel(logging.WARNING)
        database.tell_what_is_ready(self._defer)

    def prepare(self) -> None:
        """Its tables; those of another version of it are refused by its own functions."""
        with self._database.write() as session:
            if not handed.has_tables(session):
                driver = session.connection().connection.driver_connection
                assert driver is not None
                driver.execute(SchemaManager.get_schema())  # many statements at once, which SQLAlchemy would prepare

    def _defer(self, connection: Connection, ready: Ready) -> None:
        """In the transaction of ``connection``, which alone writes."""
        key = handed.key(ready)
        if handed.waits(connection, key):
            return
        task = self._app.configure_task(
            TASK,
            queue=queue_of(ready.pipeline),
            priority=-int((ready.turn_at - BEGAN).total_seconds()),
            queueing_lock=key,
            schedule_at=ready.next_at,
            connection=connection.connection.driver_connection,
        )
        task.defer(job_id=ready.job_id)

    def mend(self) -> None:
        with self._database.write() as session:
            handed.drop_over(session)
            for ready in handed.missing(session):
                self._defer(session.connection(), ready)
        if time.monotonic() >= self._rescued_at + SILENT_SECONDS / 2:
            self._rescued_at = time.monotonic()
            asyncio.run(self._rescue())

    async def _rescue(self) -> None:
        """Tasks of workers that are gone end; their jobs have got new ones from the ledger."""
        async with self._app.open_async():
            manager = self._app.job_manager
            for stalled in await manager.get_stalled_jobs(seconds_since_heartbeat=SILENT_SECONDS):
                await manager.finish_job(stalled, status=Status.FAILED, delete_job=True)
            await manager.prune_stalled_workers(SILENT_SECONDS)

    def work(self, lanes: Sequence[Loop], stop: threading.Event, orphaned: Callable[[], bool]) -> None:
        free: SimpleQueue[Loop] = SimpleQueue()
        for lane in lanes:
            free.put(lane)

        def analyse(job_id: int) -> None:
            lane = free.get()
            try:
                lane.one(job_id, lambda: orphaned() or stop.wait(AGAIN_SECONDS))
            finally:
                free.put(lane)

        self._app.task(name=TASK, queue=self._queue)(analyse)
        while not stop.is_set() and not orphaned():
            try:
                asyncio.run(self._listen(len(lanes), stop, orphaned))
            except (ConnectorException, OSError):
                logger.exception("worker.cannot_listen")
                stop.wait(AGAIN_SECONDS)

    async def _listen(self, lanes: int, stop: threading.Event, orphaned: Callable[[], bool]) -> None:
        threads = ThreadPoolExecutor(lanes + 4)  # tasks run there; by default they are fewer than the lanes may be
        asyncio.get_running_loop().set_default_executor(threads)
        async with self._app.open_async():
            running = asyncio.create_task(
                self._app.run_worker_async(
                    queues=[self._queue],
                    concurrency=lanes,
                    fetch_job_polling_interval=POLL_SECONDS,
                    delete_jobs="always",
                    install_signal_handlers=False,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=SILENT_SECONDS,
                )
            )
            while not running.done() and not stop.is_set() and not orphaned():
                await asyncio.wait({running}, timeout=STOP_SECONDS)
            if not running.done():
                running.cancel()  # it ends with the job that it is at
            with contextlib.suppress(asyncio.CancelledError):
                await running
