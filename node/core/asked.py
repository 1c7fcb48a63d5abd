"""The settings of [query] and [commitment]: what others may ask of us beside storage, and where they are told."""

from __future__ import annotations

from dataclasses import dataclass

from node.core.destination import Destination
from node.core.errors import Misconfigured


@dataclass(frozen=True)
class Commitment:
    """Storage commitment: whether others may ask us, where they are told, and how long we wait for an answer."""

    serve: bool
    peers: tuple[str, ...]
    default_port: int
    ask_again_seconds: float


@dataclass(frozen=True)
class Query:
    """What others may ask of us and fetch from us by C-FIND, C-MOVE and C-GET."""

    serve: bool
    max_matches: int
    move_destinations: tuple[str, ...]


def check_asked(query: Query, commitment: Commitment) -> None:
    if not 0 <= commitment.default_port < 65536 or commitment.ask_again_seconds <= 0:
        raise Misconfigured("commitment.default_port is 0 to 65535, commitment.ask_again_seconds is above 0")
    told = [Destination.parse(text).aet for text in commitment.peers]
    if len(told) != len(set(told)):
        raise Misconfigured("commitment.peers names an AE title twice")
    if query.max_matches < 0:
        raise Misconfigured("query.max_matches is 0 or more")
    moved_to = [Destination.parse(text).aet for text in query.move_destinations]
    if len(moved_to) != len(set(moved_to)):
        raise Misconfigured("query.move_destinations names an AE title twice: a C-MOVE could not tell them apart")
