"""The node itself as a process: started, watched, stopped and killed as an operator (or a power cut) would.

Knows the command line, ``ports.json``, the health page and, for waiting and counting, the tables of its database.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
from psycopg.rows import dict_row

from tests.peers import LOOPBACK, Ran, Service, clean_environment, run, wait_until

LUNGNODE = (sys.executable, "-m", "node.cli")


def lungnode(*arguments: str | Path, **environment: str) -> Ran:
    """Any command of the node's command line, to its end."""
    return run([*LUNGNODE, *arguments], **environment)


def postgres_rows(url: str, sql: str, *values: object) -> Sequence[Any]:
    with psycopg.connect(url.replace("+psycopg", ""), row_factory=dict_row, autocommit=True) as connection:
        return connection.execute(sql.replace("?", "%s").encode(), values).fetchall()


class LungnodeProcess(Service):
    """``lungnode serve`` as an operator starts it, its state in ``data``, its log in ``log``.

    ``settings``: TOML text for --config. ``flags``: further flags. ``data``: a folder to keep between processes.
    It may be started again after its end; the log goes on in the same file. This machine needs no login, unless the
    environment says so.
    """

    def __init__(
        self,
        *flags: str,
        settings: str = "",
        send_to: Sequence[str] = (),
        data: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.flags, self.send_to = flags, tuple(send_to)
        self.data = data or self.folder / "data"
        self.config = self.folder / "node.toml"
        self.config.write_text(settings)
        usual = {"LUNGNODE_NODE_DICOM_HOST": LOOPBACK, "LUNGNODE_WEB_LOOPBACK_NEEDS_NO_LOGIN": "true"}
        self.environment = {**usual, **(environment or {})}
        self.dicom_port = self.http_port = 0

    def start(self, seconds: float = 60) -> Self:
        self.data.mkdir(exist_ok=True)
        before = self._ports_written_at()
        command = [*LUNGNODE, "serve", "--data", self.data, "--config", self.config, "--dicom-port", "0"]
        for destination in self.send_to:
            command += ["--send-to", destination]
        self._spawn([*command, "--http-port", "0", *self.flags], clean_environment() | self.environment)
        wait_until(
            lambda: self._alive() and self._ports_written_at() not in (0, before), seconds, "ports.json is written"
        )
        ports = json.loads((self.data / "ports.json").read_text())
        self.dicom_port, self.http_port = int(ports.get("dicom", 0)), int(ports["http"])
        wait_until(lambda: self._alive() and self.http("/health/ready")[0] == 200, seconds, "the node is ready")
        return self

    def _ports_written_at(self) -> int:
        try:
            return (self.data / "ports.json").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _alive(self) -> bool:
        if not self.running:
            raise AssertionError(f"lungnode serve ended at once: {self.logged()[-1500:]}")
        return True

    def http(self, path: str) -> tuple[int, str]:
        """Status and body of a GET; (0, "") when nobody listens."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.http_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0, ""

    def processes(self) -> list[psutil.Process]:
        """The supervisor first, then every descendant."""
        assert self.process is not None
        try:
            supervisor = psutil.Process(self.process.pid)
            return [supervisor, *supervisor.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def sigterm(self, seconds: float = 60) -> int:
        """Ask to drain; the exit status. An AssertionError when it does not end in time."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running {seconds:g} s after SIGTERM: {self.logged()[-1500:]}") from None

    def kill9_everything(self) -> None:
        """SIGKILL to the supervisor and all its descendants; it is stopped first so that it cannot replace any."""
        assert self.process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(self.process.pid).suspend()
        victims = self.processes()
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
        self.process.wait()
        psutil.wait_procs(victims, timeout=10)

    def stop(self, seconds: float = 30) -> int | None:
        if self.process is None:
            return None
        family = self.processes()
        code = super().stop(seconds)
        for orphan in family[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()
        return code

    def logged(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Log lines that are events, all or those of one name."""
        lines = [json.loads(line) for line in self.logged().splitlines() if re.match(r"\{.*\}$", line)]
        return [line for line in lines if not name or line.get("event") == name]

    def command(self, *arguments: str | Path, **environment: str) -> Ran:
        return lungnode(*arguments, **environment)

    def status(self, study_uid: str = "") -> str:
        ran = lungnode("status", *([study_uid] if study_uid else []), "--data", self.data)
        assert ran.code == 0, ran.text
        return ran.out

    def query(self, *arguments: str) -> list[dict[str, Any]]:
        ran = lungnode("query", "--data", self.data, "--format", "json", *arguments)
        assert ran.code == 0, ran.text
        records: list[dict[str, Any]] = json.loads(ran.out)
        return records

    def rows(self, sql: str, *values: object) -> Sequence[Any]:
        """Read the node's own database, read-only, for waiting and for counting."""
        if url := self.environment.get("LUNGNODE_DATABASE_URL"):
            return postgres_rows(url, sql, *values)
        with contextlib.closing(
            sqlite3.connect(f"file:{self.data / 'lungnode.sqlite'}?mode=ro", uri=True, timeout=30)
        ) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, values).fetchall()

    def wait_settled(self, study_uids: Sequence[str], seconds: float = 240) -> None:
        """Until each study is analysed (or failed, or only stored) and no delivery of it is owed. seconds: the first
        study of a node waits for its models, which on a busy machine load for minutes."""
        marks = ",".join("?" * len(study_uids))

        def settled() -> bool:
            states = self.rows(f"SELECT state FROM studies WHERE study_uid IN ({marks})", *study_uids)
            owed = self.rows(
                "SELECT 1 FROM deliveries JOIN outputs ON outputs.id = output_id JOIN analyses"
                " ON analyses.id = analysis_id JOIN studies ON studies.id = study_id"
                f" WHERE deliveries.state IN ('waiting', 'committing') AND study_uid IN ({marks}) LIMIT 1",
                *study_uids,
            )
            ended = sum(row["state"] in ("analysed", "failed", "stored") for row in states)
            return ended == len(set(study_uids)) and not owed

        wait_until(settled, seconds, f"{len(study_uids)} studies are analysed and delivered", every=0.2)
