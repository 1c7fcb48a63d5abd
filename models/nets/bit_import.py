"""Published BiT weights (.npz, ResNet-50x1) into ``BiTResNet50``: a local file, nothing is fetched.

Kernels there are (height, width, in, out), here (out, in, height, width). The head belongs to the classes it was
trained for, so it is left at zero unless asked for. Key map: models specification 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from models.nets.bit import UNITS, BiTResNet50

STEPS = ("a", "b", "c")  # the three convolutions of a unit and the normalisation before each


def load_bit(net: BiTResNet50, path: Path, *, head: bool = False) -> BiTResNet50:
    """The network with the file's weights. ValueError names a key that is absent or has another shape."""
    state = net.state_dict()
    with np.load(path, allow_pickle=False) as arrays:
        for key, name in _names(net, head):
            if key not in arrays.files:
                raise ValueError(f"{path.name} has no {key}")
            values = arrays[key]
            found = torch.from_numpy(values.transpose(3, 2, 0, 1).copy() if values.ndim == 4 else values)
            if found.shape != state[name].shape:
                raise ValueError(f"{key} has the shape {values.shape}, not that of {name}")
            state[name] = found.to(torch.float32)
    net.load_state_dict(state)
    return net


def _names(net: BiTResNet50, head: bool) -> Iterator[tuple[str, str]]:
    """(key in the file, name in our state)."""
    yield "resnet/root_block/standardized_conv2d/kernel", "root.0.weight"
    projected = {name.removesuffix(".projection.weight") for name in net.state_dict() if "projection" in name}
    for block, units in enumerate(UNITS):
        for unit in range(units):
            theirs, ours = f"resnet/block{block + 1}/unit{unit + 1:02d}", f"blocks.{block}.{unit}"
            for number, step in enumerate(STEPS, start=1):
                yield f"{theirs}/{step}/standardized_conv2d/kernel", f"{ours}.conv{number}.weight"
                yield f"{theirs}/{step}/group_norm/gamma", f"{ours}.norm{number}.weight"
                yield f"{theirs}/{step}/group_norm/beta", f"{ours}.norm{number}.bias"
            if ours in projected:
                yield f"{theirs}/a/proj/standardized_conv2d/kernel", f"{ours}.projection.weight"
    yield "resnet/group_norm/gamma", "norm.weight"
    yield "resnet/group_norm/beta", "norm.bias"
    if head:
        yield "resnet/head/conv2d/kernel", "head.weight"
        yield "resnet/head/conv2d/bias", "head.bias"
