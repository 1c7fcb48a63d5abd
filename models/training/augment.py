"""Anatomical augmentation on batches: rotation, zoom, shift, mirror, brightness and contrast. No upside-down films."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def affine(
    images: Tensor, random: torch.Generator, *, degrees: float, zoom: tuple[float, float], shift: float, mirror: bool
) -> Tensor:
    """(N, C, H, W) each turned, zoomed, shifted (share of the side) and perhaps mirrored; outside becomes 0."""
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=random) * (high - low) + low

    angle, scale = uniform(-degrees, degrees) * math.pi / 180, uniform(*zoom)
    side = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0) if mirror else torch.ones(count)
    right, down = uniform(-shift, shift), uniform(-shift, shift)
    rows = (
        torch.stack((angle.cos() * side, -angle.sin(), right), 1),
        torch.stack((angle.sin() * side, angle.cos(), down), 1),
    )
    theta = torch.stack(rows, 1)
    theta[:, :, :2] /= scale[:, None, None]
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def brightness_contrast(images: Tensor, random: torch.Generator, contrast: float, brightness: float) -> Tensor:
    """Scale about one half by 1 +- contrast, add +- brightness, stay in 0..1."""
    shape = (len(images), 1, 1, 1)
    gain = 1 + contrast * (2 * torch.rand(shape, generator=random) - 1)
    offset = brightness * (2 * torch.rand(shape, generator=random) - 1)
    return ((images - 0.5) * gain + 0.5 + offset).clamp(0, 1)


def tone(images: Tensor, random: torch.Generator, spread: float = 0.5) -> Tensor:
    """Each raised to a power between exp(-spread) and exp(spread); values in 0..1."""
    power = torch.exp(spread * (2 * torch.rand((len(images), 1, 1, 1), generator=random) - 1))
    return images.clamp(1e-4, 1) ** power


def noise(images: Tensor, random: torch.Generator, most: float = 0.05) -> Tensor:
    """Gaussian noise, of each image's own strength up to ``most``."""
    strength = most * torch.rand((len(images), 1, 1, 1), generator=random)
    return (images + strength * torch.randn(images.shape, generator=random)).clamp(0, 1)


def resolution(images: Tensor, random: torch.Generator, smallest: float = 0.5) -> Tensor:
    """The whole batch, half of the time, blurred through a size between ``smallest`` and 1 of its own."""
    if torch.rand((), generator=random) < 0.5:
        return images
    scale = smallest + (1 - smallest) * float(torch.rand((), generator=random))
    side = max(16, int(images.shape[-1] * scale))
    small = functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    return functional.interpolate(small, size=images.shape[-2:], mode="bilinear")
