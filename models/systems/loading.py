"""Put a card's weights into a network: digest checked, float16 on disk, float32 in memory."""

from __future__ import annotations

from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import nn

from models.api import Card, WeightsMismatch
from models.cards import weights_problem

Net = TypeVar("Net", bound=nn.Module)


def load_state(net: Net, card: Card) -> Net:
    """The network with the card's weights; WeightsMismatch when the file is absent or another."""
    if problem := weights_problem(card):
        raise WeightsMismatch(problem)
    state = load_file(card.weights)
    net.load_state_dict({k: v.to(torch.float32) if v.is_floating_point() else v for k, v in state.items()})
    return net


def ready(net: Net, device: torch.device) -> Net:
    """On the device, channels last, for inference only."""
    net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.requires_grad_(False)
    return net.eval()
