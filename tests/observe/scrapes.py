"""A scrape, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from node.composition.metering import Metering
from node.web.metrics import NodeMetrics


@dataclass(frozen=True)
class Scrape:
    """values: by name and labels."""

    values: Mapping[tuple[str, frozenset[tuple[str, str]]], float]
    types: Mapping[str, str]

    @classmethod
    def of(cls, text: str) -> Scrape:
        families = list(text_string_to_metric_families(text))
        values = {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
        return cls(values, {family.name: family.type for family in families})

    def __getitem__(self, name: str) -> float:
        return self.at(name)

    def at(self, name: str, **labels: str) -> float:
        return self.values[name, frozenset(labels.items())]

    def named(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        return {labels: value for (one, labels), value in self.values.items() if one == name}

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.values}


def served(metering: Metering) -> str:
    registry = CollectorRegistry()
    registry.register(NodeMetrics(metering.read))
    return generate_latest(registry).decode()


def scraped(metering: Metering) -> Scrape:
    return Scrape.of(served(metering))
