"""What keeps the archive as it should be, made from the settings: retention, and the priors of what arrives.

Part of the composition root, for the node that runs and for the commands of an operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from node.archive import Archive
from node.board import Board
from node.core.destination import Destination
from node.core.settings import Settings
from node.db import intake as rows
from node.db.session import Database
from node.dimse.associating import Peer
from node.dimse.prior_source import Method, PriorSource
from node.dimse.tls import Certificates
from node.pipeline.intake import Intake
from node.pipeline.priors import Priors
from node.pipeline.retention import Retention

SILENCE_SECONDS = 300.0  # a peer may fetch from tape, or report nothing before a C-MOVE is done


def retention(effective: Settings, database: Database, archive: Archive, clock: Callable[[], datetime]) -> Retention:
    committing = tuple(peer.name for peer in effective.peers if peer.objects and peer.objects.commit)
    return Retention(database, archive, effective.retention, committing, clock)


def priors(
    effective: Settings,
    database: Database,
    archive: Archive,
    clock: Callable[[], datetime],
    board: Board,
    certificates: Certificates | None = None,
) -> Priors:
    """From the source of the settings, which must be named. board: of the node, where it stands what is fetched."""
    rules = effective.priors
    peer = source_peer(effective, rules.source, certificates)
    intake = Intake(database, archive, effective.receive.max_instance_bytes, clock)
    is_here = _is_here(database)
    method: Method = "move" if rules.method == "move" else "get"
    source = PriorSource(rules.source, peer, method, intake, is_here)
    return Priors(database, archive, rules, source, clock, board.fetching.announced)


def source_peer(effective: Settings, name: str, certificates: Certificates | None = None) -> Peer:
    """A peer that we fetch from, AET@HOST:PORT; over TLS where the settings say so."""
    found = Destination.parse(name)
    plain = Peer(found.host, found.port, found.aet, effective.node.aet, dimse_timeout=SILENCE_SECONDS)
    if found.name not in effective.tls.destinations:
        return plain
    return replace(plain, certificates=certificates or Certificates(effective.tls))


def _is_here(database: Database) -> Callable[[str], bool]:
    def is_here(sop_instance_uid: str) -> bool:
        with database.looking() as connection:
            return rows.known_instance(connection, sop_instance_uid).sha256 is not None

    return is_here
