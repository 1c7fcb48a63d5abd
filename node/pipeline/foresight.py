"""What settings would make of a study: whose it is, when it has its turn, what is analysed by which systems, where the
results go; each in a sentence that names the rule which decided. No model is loaded and nothing is stored.

Which images are taken is judged as ``trial`` does. Nothing of a person is told, UIDs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from models.api import Card
from node.core.settings import Settings
from node.core.site import UnknownSite, of_site, site_called
from node.core.study import StoredInstance
from node.pipeline.completeness import FILMS
from node.pipeline.rules import load
from node.pipeline.trial import Trial, Verdict


@dataclass(frozen=True)
class Foreseen:
    """Sentences. ``images``: one for each film, and for those images of a series of which the same is said."""

    site: str
    turn: str = ""
    images: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        return [sentence for field in fields(self) for sentence in _several(getattr(self, field.name))]


@dataclass(frozen=True)
class Whose:
    """The site of a study, and the sentence why."""

    site: str
    because: str


def whose_called(settings: Settings, called_aet: str) -> Whose:
    """Of a study that would come to this AE title."""
    site = site_called(settings.sites, called_aet)
    if site:
        return Whose(site, f"It belongs to the site {site}, by [sites.{site}] aets: it comes to {called_aet}.")
    if settings.receive.require_called_aet and called_aet != settings.node.aet:
        return Whose("", f"It is refused, by [receive] require_called_aet: {called_aet} is no AE title of this node.")
    return Whose("", f"It belongs to the node itself: no site answers to {called_aet}.")


def whose_stored(site: str) -> Whose:
    said = f"the site {site}" if site else "the node itself"
    return Whose(site, f"It belongs to {said}, which received it.")


def foresee(settings: Settings, cards: Sequence[Card], whose: Whose, instances: Sequence[StoredInstance]) -> Foreseen:
    try:
        effective = of_site(settings, whose.site)
    except UnknownSite as error:
        return Foreseen(str(error), results=("Its report says so, and is sent to nobody.",))
    verdicts = Trial(effective.analysis, load(effective.analysis.selection), cards).verdicts(instances)
    return Foreseen(
        whose.because,
        _turn(settings, whose.site, instances),
        tuple(_said(verdict) for verdict in verdicts),
        _systems(settings, whose.site, verdicts),
        _results(settings, whose.site),
    )


def differences(before: Foreseen, after: Foreseen) -> list[str]:
    """What only one of them says, in the order of saying."""
    old, new = before.sentences(), after.sentences()
    return [f"now:  {one}" for one in old if one not in new] + [f"then: {one}" for one in new if one not in old]


def _several(said: str | tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(said, tuple):
        return said
    return (said,) if said else ()


def _turn(settings: Settings, site: str, instances: Sequence[StoredInstance]) -> str:
    if site and settings.sites[site].urgent:
        return f"It is urgent, by [sites.{site}] urgent."
    modalities = {one.modality for one in instances if not one.is_own_result}
    if modalities and modalities <= FILMS:
        return "It is urgent: it holds films alone."
    return "It is not urgent: it holds more than films; films that came up to five minutes later go before it."


def _said(verdict: Verdict) -> str:
    images = "1 image" if verdict.images == 1 else f"{verdict.images} images"
    which = verdict.sop_instance_uid or f"{images} of the series {verdict.series_uid}"
    if verdict.taken:
        return f"{which} would be analysed. {verdict.sentence} {verdict.remarks}".strip()
    return f"{which} would be left out, by the rule {verdict.rule}: {verdict.sentence}"


def _systems(settings: Settings, site: str, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    analysis = of_site(settings, site).analysis
    taken = {"ct" if verdict.modality == "CT" else "film" for verdict in verdicts if verdict.taken}
    if not taken:
        return ("No system is asked; the report says why.",)
    found = []
    for kind, key, words in (("film", "systems", "Films are"), ("ct", "ct_systems", "CT series are")):
        own = site and getattr(settings.sites[site], key) is not None
        names = ", ".join(getattr(analysis, key)) or "no system"
        if kind in taken:
            found.append(f"{words} judged by {names}, by [{f'sites.{site}' if own else 'analysis'}] {key}.")
    return tuple(found)


def _results(settings: Settings, site: str) -> tuple[str, ...]:
    where = f"sites.{site}" if site else "delivery"
    found = []
    for peer in of_site(settings, site).peers:
        kinds = (peer.objects or settings.objects).kinds
        rule = f'[destinations."{peer.name}"]' if peer.name in settings.destinations else "[objects]"
        found.append(f"{peer.name} is sent {', '.join(kinds)}, by [{where}] destinations and {rule} kinds.")
    return tuple(found) or (f"Nobody is sent the results: [{where}] destinations names nobody.",)
