"""By which models and rules the studies of each site are judged, as digests, and what of that a worker must have.

Part of the composition root: it ties the settings to the models that are installed.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import cast

from models.api import Registry
from node.core.errors import Misconfigured
from node.core.lanes import Lanes
from node.core.settings import Analysis, Settings
from node.core.site import Route, of_site
from node.pipeline.rules import load as load_rules


def open_registry(lanes: Lanes | None = None) -> Registry:
    """The model registry of this installation. Reads cards only; torch is loaded by a worker's first load. lanes: of
    the process that is going to load."""
    module = importlib.import_module("models.registry")
    weights = Path(str(resources.files("models"))) / "weights"
    if lanes is None:
        return cast(Registry, module.Registry(weights))
    wait_seconds = lanes.wait_milliseconds / 1000
    return cast(Registry, module.Registry(weights, lanes.studies, lanes.batch, wait_seconds, lanes.memory_mib))


def pipeline_key(effective: Settings, registry: Registry) -> str:
    """Digest of what, besides the images, decides a result: settings of the analysis, rules of selection, models."""
    analysis = effective.analysis
    wanted = _systems(analysis)
    cards = {card.system: card for card in registry.cards()}
    missing = [system for system, _ in wanted if system not in cards]
    if missing:
        raise Misconfigured(f"no model {', '.join(missing)} is installed; there are {', '.join(sorted(cards))}")
    for system, kind in wanted:
        if cards[system].kind != kind:
            raise Misconfigured(f"{system} is a model for {cards[system].kind}, not for {kind}")
    parts = [f"{cards[system].system} {cards[system].version} {cards[system].weights_sha256}" for system, _ in wanted]
    parts += [str(analysis.ensemble), analysis.device, load_rules(analysis.selection).digest]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _systems(analysis: Analysis) -> list[tuple[str, str]]:
    """(system, the kind its card must have), in the order of the settings."""
    return [
        (analysis.segmenter, "lungs"),
        *((system, "lungs") for system in (analysis.biomarkers,) if system),
        *((system, "film") for system in analysis.systems),
        *((system, "ct") for system in analysis.ct_systems),
        *((system, "indicators") for system in analysis.indicators),
    ]


def routes(effective: Settings, registry: Registry) -> dict[str, Route]:
    """By site; "" is the node itself."""
    found = {"": Route(pipeline_key(of_site(effective, ""), registry), False)}
    for name, site in effective.sites.items():
        try:
            found[name] = Route(pipeline_key(of_site(effective, name), registry), site.urgent)
        except Misconfigured as error:
            raise Misconfigured(f"sites.{name}: {error}") from None
    return found


def node_key(routes: Mapping[str, Route]) -> str:
    """What a worker must have to do any job of this node: every route; without sites, the only one."""
    if set(routes) == {""}:
        return routes[""].pipeline_key
    parts = sorted(f"{name} {route.pipeline_key}" for name, route in routes.items())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
