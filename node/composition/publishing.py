"""What the node publishes over HTTP of its archive: the DICOMweb service and the viewer that stands on it.

Part of the composition root: it ties settings to the rooms that the routes ask.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from starlette.routing import BaseRoute, Mount

from node.archive import Archive
from node.board import Board
from node.core.dicomweb import Dicomweb
from node.core.limits import networks
from node.core.settings import Settings
from node.db.session import Database
from node.dimse.contexts import storage
from node.pipeline.catalogue import Catalogue
from node.pipeline.intake import Intake
from node.pipeline.pressure import Pressure
from node.web import viewer
from node.web.dicomweb.resources import Objects
from node.web.dicomweb.service import Service
from node.web.dicomweb.store import Store
from node.web.dicomweb.upload import Accepted

INSTALLED_VIEWER = Path(__file__).parents[1] / "viewer" / "dist"  # where `make viewer` puts it
WEB = "web"  # the name under which uploads stand on the board


def routes(
    effective: Settings,
    folder: Path,
    database: Database,
    archive: Archive,
    catalogue: Catalogue,
    clock: Callable[[], datetime],
) -> list[BaseRoute]:
    """folder: of the board that receivers share."""
    wanted, receive, limits = effective.dicomweb, effective.receive, effective.limits
    if not wanted.serve:
        return []
    board = Board(folder, WEB)
    pressure = Pressure(database, archive, limits)
    intake = Intake(database, archive, receive.max_instance_bytes, clock, pressure.refusal, board)
    classes = storage(limits.sop_classes)
    accepted = Accepted(frozenset(classes.sop_classes), frozenset(classes.transfer_syntaxes))
    store = Store(intake, archive, board, accepted, wanted, receive.max_associations)
    objects = Objects(catalogue, archive)
    service = Service(objects, store, wanted, effective.query.max_matches, networks(limits.calling_addresses))
    return [Mount(wanted.prefix, service.application()), *viewer.routes(viewer_folder(wanted), wanted.prefix)]


def viewer_folder(wanted: Dicomweb) -> Path:
    """Where OHIF is, if it is anywhere."""
    return Path(wanted.viewer_folder) if wanted.viewer_folder else INSTALLED_VIEWER
