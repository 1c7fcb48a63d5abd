"""Write what a run produced: float16 safetensors and a TOML file of its figures and digest, beside the checkpoint.

The figures go into the card in ``models/weights/``; ``python -m models.training.cards`` puts both there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.evaluation.metrics import Figure


def full_precision(file: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, float16 made float32."""
    return {name: value.float() if value.is_floating_point() else value for name, value in load_file(file).items()}


def write(
    model: nn.Module, target: Path, figures: Mapping[str, Figure], extra: Mapping[str, float] | None = None
) -> str:
    """Returns the SHA-256 of the written file. Buffers that are not floating point keep their type."""
    state = {
        name: value.detach().cpu().contiguous().to(torch.float16 if value.is_floating_point() else value.dtype)
        for name, value in model.state_dict().items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, target)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    lines = [f'weights_sha256 = "{digest}"', ""]
    lines += [f"{name} = {value:.6g}" for name, value in (extra or {}).items()]
    for name, figure in figures.items():
        content = {"value": figure.value, "low": figure.low, "high": figure.high}
        inner = ", ".join(f"{key} = {value:.4f}" for key, value in content.items())
        lines.append(f"{json.dumps(name)} = {{ {inner}, cases = {figure.cases} }}")
    target.with_suffix(".figures.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return digest
