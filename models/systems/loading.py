"""Put a card's weights into a network: digest checked, float16 on disk, float32 in memory."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from models.api import Card, WeightsMismatch
from models.cards import weights_problem
from models.nets.layout import Net, place


def load_state(net: Net, card: Card) -> Net:
    """The network with the card's weights; WeightsMismatch when the file is absent or another."""
    if problem := weights_problem(card):
        raise WeightsMismatch(problem)
    state = load_file(card.weights)
    net.load_state_dict({k: v.to(torch.float32) if v.is_floating_point() else v for k, v in state.items()})
    return net


def ready(net: Net, device: torch.device) -> Net:
    """On the device, channels last, for inference only."""
    place(net, device).requires_grad_(False)
    return net.eval()
