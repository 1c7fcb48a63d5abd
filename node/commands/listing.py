"""``lungnode models``: what ships, whether its weights are those of its card, and the cards."""

from __future__ import annotations

from node.commands.asking import say
from node.composition.routing import open_registry
from node.core.errors import Misconfigured


def models(action: str, system: str | None) -> int:
    """list: one line a model; verify: digests, 1 when one is wrong or missing; card: one model's card as written.

    A card that names no weights is no fault.
    """
    registry = open_registry()
    cards = registry.cards()
    if action == "card":
        if system is None:
            raise Misconfigured(f"card needs the name of a model: {', '.join(card.system for card in cards)}")
        found = [card for card in cards if card.system == system]
        if not found:
            raise Misconfigured(f"there is no model {system}; there are {', '.join(card.system for card in cards)}")
        say(found[0].text)
        return 0
    verdicts = registry.verify() if action == "verify" else {}
    for card in cards:
        verdict = f"  {verdicts[card.system] or 'digest matches'}" if verdicts else ""
        classes = ",".join(card.classes) or "-"
        say(f"{card.system}  {card.version}  {card.kind}  {classes}  {card.weights_sha256[:12]}  {card.name}{verdict}")
    return 1 if any(verdicts.get(card.system) and card.weights_sha256 for card in cards) else 0
