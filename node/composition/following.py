"""What of the supervisor follows the settings: made when a node starts, and anew by each reload.

Part of the composition root. What is under way goes on as it began: a delivery that sends, a study that
is being closed. Making it checks what the settings name (models, rules, certificates); Misconfigured where they are not
to be had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from node.archive import Archive
from node.board import Board
from node.composition import keeping
from node.composition.peers import Peers
from node.composition.queueing import engine_of
from node.composition.routing import node_key, open_registry, routes
from node.composition.tracing import Tracer
from node.core.settings import Settings
from node.db.session import Database
from node.dimse.tls import Certificates
from node.pipeline.commitment import Commitments
from node.pipeline.completeness import close_quiet_studies, none_is_open
from node.pipeline.deliver import Deliver
from node.pipeline.pressure import Pressure
from node.pipeline.priors import PriorsDuty


@dataclass(frozen=True)
class Ground:
    """What stays as long as the node runs. owner: of claims, see ``db.members``."""

    database: Database
    archive: Archive
    trace: Tracer
    owner: str
    board: Board


class Following:
    """before: what it takes the place of, whose deliveries go on."""

    def __init__(self, settings: Settings, ground: Ground, before: Following | None = None) -> None:
        self.settings, self._ground = settings, ground
        database, archive, now = ground.database, ground.archive, ground.database.clock
        self.registry = open_registry()
        self.routes = routes(settings, self.registry)
        self.key = node_key(self.routes)
        certificates = Certificates(settings.tls)
        self.peers = peers = Peers(settings, certificates)
        self.pressure = Pressure(database, archive, settings.limits)
        self.engine = engine_of(settings, database, self.key)
        commitments = Commitments(database, archive, now, settings.delivery.backoff_seconds)
        self.commitment = peers.commitment(commitments)
        self.deliver = Deliver(
            database,
            archive,
            settings.delivery,
            peers.send,
            now,
            peer=peers.find,
            ask=peers.ask,
            probe=peers.probe,
            committing=peers.committing(commitments, database, now),
            trace=ground.trace,
            owner=ground.owner,
        )
        if before is not None:
            self.deliver = self.deliver.after(before.deliver)
        self.retention = keeping.retention(settings, database, archive, now)
        self.priors: PriorsDuty | None = None
        if settings.priors.source:
            wanted = keeping.priors(settings, database, archive, now, ground.board, certificates)
            self.priors = PriorsDuty(wanted, settings.delivery.backoff_seconds, ground.owner)
        self._earlier = before.priors_under_way if before else []

    def close_studies(self, arriving: Callable[[], tuple[frozenset[str], datetime]]) -> bool:
        """arriving: studies that are being sent, and when that was so. Whether none was open."""
        wanted, database, trace = self.settings, self._ground.database, self._ground.trace
        if none_is_open(database):
            return True
        studies, at = arriving()
        close_quiet_studies(database, wanted.completeness, self.key, studies, at, wanted.priors, trace, self.routes)
        return False

    def fetch_priors(self) -> None:
        if self.priors is not None:
            self.priors.pump()

    def let_go(self) -> None:
        """Claims of what broke off, whoever does the duties by now."""
        self.deliver.let_go()
        for priors in self.priors_under_way:
            priors.let_go()

    @property
    def priors_under_way(self) -> list[PriorsDuty]:
        """Those of the settings before too, until they hold nothing."""
        self._earlier = [one for one in self._earlier if not one.is_over]
        return [*self._earlier, *([self.priors] if self.priors else [])]

    def stop_priors(self, seconds: float) -> None:
        if self.priors is not None:
            self.priors.stop(seconds)
