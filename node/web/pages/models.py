"""The installed models: what each card says, its figures, whether its weights are whole, and which this node uses."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from models.api import Card
from node.core.settings import Analysis
from node.web.pages.site import Posted, Site

KINDS = {
    "lungs": "Lungs and biomarkers",
    "film": "Film classifiers",
    "ct": "CT classifiers",
    "indicators": "Predicted values",
}


@dataclass(frozen=True)
class Figure:
    """With its 95 % interval, where the card gives one."""

    name: str
    value: float
    low: float | None
    high: float | None
    cases: int | None


@dataclass(frozen=True)
class Shown:
    """used: this node runs it. problem: empty, or the sentence why its weights cannot be used."""

    card: Card
    figures: tuple[Figure, ...]
    sections: Mapping[str, Any]  # of the card as it was written
    used: bool
    problem: str


class Models:
    """analyses: of the node, and of each of its sites. verify: digests of the weights, by system; asked once, since it
    reads all of them."""

    def __init__(
        self, site: Site, cards: Sequence[Card], analyses: Iterable[Analysis], verify: Callable[[], Mapping[str, str]]
    ) -> None:
        self._site, self._cards, self._verify = site, cards, verify
        self._used = set[str]()
        for one in analyses:
            self._used |= {one.segmenter, one.biomarkers, *one.systems, *one.ct_systems, *one.indicators}

    def routes(self) -> list[BaseRoute]:
        return [
            self._site.route("/models", self._list, "figures"),
            self._site.route("/models/{system}", self._one, "figures"),
        ]

    @cached_property
    def _problems(self) -> Mapping[str, str]:
        return self._verify()

    def _list(self, request: Request, _: Posted) -> Response:
        groups = [
            (title, [self._shown(card) for card in self._cards if card.kind == kind]) for kind, title in KINDS.items()
        ]
        return self._site.page(request, "models.html", groups=[group for group in groups if group[1]])

    def _one(self, request: Request, _: Posted) -> Response:
        found = next((card for card in self._cards if card.system == request.path_params["system"]), None)
        if found is None:
            raise HTTPException(404, "There is no such model here.")
        return self._site.page(request, "model.html", model=self._shown(found))

    def _shown(self, card: Card) -> Shown:
        sections = tomllib.loads(card.text)
        figures = tuple(_figure(name, given) for name, given in sections.get("figures", {}).items())
        return Shown(card, figures, sections, card.system in self._used, self._problems.get(card.system, ""))


def _figure(name: str, given: Any) -> Figure:
    if not isinstance(given, Mapping):
        return Figure(name, float(given), None, None, None)
    return Figure(name, float(given["value"]), given.get("low"), given.get("high"), given.get("cases"))
