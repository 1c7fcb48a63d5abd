"""That archive and database belong together, which a start and ``lungnode pull`` ask before they write to either.

Nodes on one database have one archive: else each would name files that the others do not have. A bucket that another
database knows is not taken for an empty one, and none is begun that lacks what the database names.
"""

from __future__ import annotations

import uuid

from node.archive import ARCHIVE_ID, Archive
from node.core.errors import Misconfigured
from node.db import copy as rows
from node.db import members
from node.db.session import Database
from node.pipeline.tenure import INCOMPLETE


def share(database: Database, archive: Archive, is_alone: bool) -> None:
    """Misconfigured where they do not. An archive that is nobody's becomes that of the database. is_alone: no node that
    lives could have begun another one."""
    with database.read() as session:
        known = members.common(session, "archive")
    if not (known or archive.is_remote or database.file is None):
        return
    here = archive.identity()
    _, _, generation = archive.mark().partition(" ")
    is_begun_anew = archive.is_remote and is_alone and not here  # a kill came between the two writes, if it is known
    if here != known and not (is_begun_anew or (not known and _may_be_adopted(archive, here, generation))):
        raise Misconfigured(_of_another(archive, known))
    if archive.is_remote and not generation:
        _refuse_incomplete(database, archive, known, here)
    with database.write() as session:
        known = members.common(session, "archive", here or known or uuid.uuid4().hex)
    if not here:
        _identify(archive, known)
    elif here != known:
        raise Misconfigured(_of_another(archive, known))


def _may_be_adopted(archive: Archive, here: str, generation: str) -> bool:
    """By a database that knows no archive."""
    return not here or not archive.is_remote or generation == INCOMPLETE


def _identify(archive: Archive, known: str) -> None:
    try:
        archive.identify(known)
    except FileExistsError as error:
        raise Misconfigured(_of_another(archive, "")) from error


def _refuse_incomplete(database: Database, archive: Archive, known: str, here: str) -> None:
    """Nothing has been cleared away here yet: what the database names has to be in it."""
    with database.read() as session:
        named = set(rows.files(session))
    stored = archive.names()
    missing = named - stored
    with database.read() as session:
        missing -= rows.unnamed(session, missing)  # removed meanwhile
    if missing:
        identity = here or known or uuid.uuid4().hex
        raise Misconfigured(
            f"the archive {archive.place} is not that of the database{'' if here else ' (archive.url)'} or not whole: "
            f"{len(missing)} of {len(named)} files that the database names are not in it. Stop the nodes and copy what "
            "lies below received and results of the earlier archive to it. If they are lost, write "
            f"'{identity} {INCOMPLETE}' into {archive.place}/{ARCHIVE_ID}"
        )
    if stored and not named and not here:
        raise Misconfigured(
            f"the archive {archive.place} holds {len(stored)} files and the database names none: give the node a "
            "prefix of its own, or the database that names them"
        )


def _of_another(archive: Archive, known: str) -> str:
    if not known:
        return (
            f"the archive {archive.place} is that of another database: give each node, or each group of nodes on one "
            "database, a prefix of its own"
        )
    return (
        f"the archive {archive.place} is not that of the database, which has one for all nodes and commands "
        f"(archive.url, else database.archive). If it is its archive after all, write {known} into "
        f"{archive.place}/{ARCHIVE_ID}"
    )
