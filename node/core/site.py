"""The tables of [sites]: several sites in one node, each with AE titles, systems, rules and destinations of its own.

A study belongs to the site whose AE title received its first image, for good. What the table of a site does not name is
as in [analysis] and [receive]; destinations are the site's own alone, and a site that names none has none. "" stands
for the node itself: what came to no AE title of a site.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from node.core.destination import Destination
from node.core.errors import Misconfigured, Refused
from node.core.limits import networks

if TYPE_CHECKING:
    from node.core.settings import Settings

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
AE_TITLE = r"[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?"  # PS3.5 Table 6.2-1, no padding


class UnknownSite(Refused):
    """The study is of a site that the settings no longer name."""

    @classmethod
    def of(cls, name: str) -> UnknownSite:
        return cls(f"The study is of the site {name}, which the settings no longer name.")


@dataclass(frozen=True)
class Site:
    """aets: AE titles that it answers to. None: as in [analysis]. calling_aets and calling_addresses, besides those of
    everybody; empty: any. urgent: all of its studies are analysed as early as films are."""

    aets: tuple[str, ...]
    destinations: tuple[str, ...] = ()
    systems: tuple[str, ...] | None = None
    ct_systems: tuple[str, ...] | None = None
    indicators: tuple[str, ...] | None = None
    selection: str | None = None
    calling_aets: tuple[str, ...] = ()
    calling_addresses: tuple[str, ...] = ()
    urgent: bool = False


@dataclass(frozen=True)
class Route:
    """How the studies of a site are analysed. pipeline_key: of models, rules and settings that decide a result."""

    pipeline_key: str
    urgent: bool = False


def read_sites(tree: Mapping[str, Any]) -> dict[str, Site]:
    return {name: _read(name, values) for name, values in tree.items()}


def _read(name: str, values: object) -> Site:
    where = f"sites.{name}"
    if not re.fullmatch(NAME, name):
        raise Misconfigured(f"{where}: the name of a site is 1 to 32 letters, digits and _ . -")
    if not isinstance(values, dict):
        raise Misconfigured(f"{where} is a table")
    known = {field.name for field in fields(Site)}
    if unknown := set(values) - known:
        raise Misconfigured(
            f"{where} knows no {min(unknown)}; known: {', '.join(field.name for field in fields(Site))}"
        )
    if not values.get("aets"):
        raise Misconfigured(f"{where} needs aets, the AE titles that it answers to")
    hints = typing.get_type_hints(Site)
    return Site(**{key: _typed(f"{where}: {key}", value, hints[key]) for key, value in values.items()})


def _typed(where: str, value: object, hint: object) -> Any:
    if hint is bool or hint == str | None:
        kind = bool if hint is bool else str
        if type(value) is not kind and not (value is None and hint is not bool):
            raise Misconfigured(f"{where} is {'true or false' if hint is bool else 'a text'}, not {value!r}")
        return value
    if value is None and hint == tuple[str, ...] | None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise Misconfigured(f"{where} is a list of texts, not {value!r}")
    if len(set(value)) < len(value):
        raise Misconfigured(f"{where} names something twice")
    return tuple(value)


def check_sites(sites: Mapping[str, Site], own_aet: str) -> None:
    """What is between the tables: an AE title leads to one site."""
    taken = {own_aet: "the node itself"}
    for name, site in sites.items():
        for aet in site.aets:
            if not re.fullmatch(AE_TITLE, aet):
                raise Misconfigured(f"sites.{name}: an AE title has 1 to 16 printable characters, not {aet!r}")
            if aet in taken:
                raise Misconfigured(f"sites.{name}: the AE title {aet!r} is that of {taken[aet]}")
            taken[aet] = f"the site {name}"
        for text in site.destinations:
            Destination.named(text)
        try:
            networks(site.calling_addresses)
        except ValueError as error:
            raise Misconfigured(f"sites.{name}: calling_addresses names no network: {error}") from error


def site_called(sites: Mapping[str, Site], called_aet: str) -> str | None:
    """The site that answers to this AE title; "": the node itself; None: there are no sites."""
    return next((name for name, site in sites.items() if called_aet in site.aets), "") if sites else None


def of_site(settings: Settings, name: str) -> Settings:
    """What holds for the studies of a site, as the settings of a node without sites; UnknownSite for any other."""
    if not settings.sites and not name:
        return settings
    if not name:
        return _with_destinations(settings, settings.delivery.destinations, others=_of_sites(settings))
    if name not in settings.sites:
        raise UnknownSite.of(name)
    site = settings.sites[name]
    own: dict[str, Any] = {key: getattr(site, key) for key in ("systems", "ct_systems", "indicators", "selection")}
    analysis = replace(settings.analysis, **{key: value for key, value in own.items() if value is not None})
    others = frozenset(settings.destinations).difference(site.destinations)
    return _with_destinations(replace(settings, analysis=analysis), site.destinations, others)


def of_nobody(settings: Settings) -> Settings:
    """For a study whose site is unknown: its report is written, and nobody is owed it."""
    return _with_destinations(settings, (), others=frozenset(settings.destinations))


def _of_sites(settings: Settings) -> frozenset[str]:
    """Destinations of sites that are not those of the node itself too."""
    named = {text for site in settings.sites.values() for text in site.destinations}
    return frozenset(named.difference(settings.delivery.destinations))


def _with_destinations(settings: Settings, destinations: tuple[str, ...], others: frozenset[str]) -> Settings:
    return replace(
        settings,
        delivery=replace(settings.delivery, destinations=destinations),
        destinations={name: table for name, table in settings.destinations.items() if name not in others},
        sites={},
    )
