"""A PostgreSQL server of its own for tests, from Debian's package, on a free port and without a word of the disk, and
PgBouncer before it.

Both refuse to run as root, so root starts them as the user ``postgres`` that the package makes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import psutil
from sqlalchemy import create_engine, text

from node.db.session import Database
from tests.peers import LOOPBACK, Absent, Service, free_port, listens, program, wait_until

NAME = "lungnode"
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")


class Postgres:
    """Used as a context; ``database`` makes an empty database in it."""

    def __init__(self, fsync: bool = False) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            raise Absent("PostgreSQL is not installed (Debian package postgresql)")
        self._programs = found[-1].parent
        self._folder = Path(tempfile.mkdtemp(prefix="lungnode-postgres-"))
        self._made, self._fsync = 0, "on" if fsync else "off"
        self.port = free_port()

    def __enter__(self) -> Self:
        as_whom = AS_POSTGRES if os.geteuid() == 0 else ()
        if as_whom:
            shutil.chown(self._folder, pwd.getpwnam("postgres").pw_uid)
        self._run(*as_whom, self._programs / "initdb", "-D", self._folder / "data", "-A", "trust", "-U", NAME)
        sockets = f"-c listen_addresses={LOOPBACK} -c unix_socket_directories={self._folder}"
        options = f"-p {self.port} -c fsync={self._fsync} {sockets}"
        control = [*as_whom, self._programs / "pg_ctl", "-D", self._folder / "data"]
        self._stop = [*control, "-m", "immediate", "stop"]
        self._start = [*control, "-o", options, "-l", self._folder / "log", "-w", "start"]
        self._run(*self._start)
        return self

    def _run(self, *command: str | Path) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def __exit__(self, *_: object) -> None:
        self._run(*self._stop)
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, name: str, user: str = NAME) -> str:
        return f"postgresql+psycopg://{user}@{LOOPBACK}:{self.port}/{name}"

    def database(self) -> Database:
        """Empty, without a table."""
        return Database(self.url(self.made()))

    def made(self, template: str = "template0") -> str:
        """The name of one more database, a copy of ``template``."""
        self._made += 1
        name = f"t{self._made}"
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        engine.dispose()
        return name

    def stop(self) -> None:
        """As a machine that fails: nobody is told, connections break."""
        self._run(*self._stop)

    def kill9(self) -> None:
        """SIGKILL to the server itself; its other processes end by themselves, and ``start`` recovers."""
        server = psutil.Process(int((self._folder / "data" / "postmaster.pid").read_text().split()[0]))
        family = [server, *server.children(recursive=True)]
        server.kill()
        _, left = psutil.wait_procs(family, timeout=60)
        assert not left, "processes of a server that was killed go on"

    def start(self) -> None:
        self._run(*self._start)


POOLER = """
[databases]
* = host={host} port={server}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {size}
unix_socket_dir =
"""


class PgBouncer(Service):
    """A pooler before ``server``. mode: "session" or "transaction". size: sessions that it has for each database."""

    def __init__(self, server: Postgres, mode: str, size: int = 80) -> None:
        super().__init__()
        self._server, self.port = server, free_port()
        places = {"host": LOOPBACK, "server": server.port, "port": self.port, "folder": self.folder}
        (self.folder / "ini").write_text(POOLER.format(**places, mode=mode, size=size))
        (self.folder / "users").write_text(f'"{NAME}" ""\n')

    def start(self) -> Self:
        as_whom = AS_POSTGRES if os.geteuid() == 0 else ()
        if as_whom:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, pwd.getpwnam("postgres").pw_uid)
        self._spawn([*as_whom, program("pgbouncer"), self.folder / "ini"])
        wait_until(lambda: listens(self.port), 30, "the pooler listens")
        return self

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://{NAME}@{LOOPBACK}:{self.port}/{name}"
