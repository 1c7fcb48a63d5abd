"""What harmonising the lungs is worth on hospitals never seen: one small ResNet, two pictures of the same films.

    python -m tests.bench.sources [--data DIR] [--out DIR]

``crop``: the box around the lungs, stretched to 0..255. ``harmonised``: what the systems see. Everything else is alike:
augmentation, sampling, loss, eight epochs of 1,024 films at 96 x 96. Each row leaves sources out and is judged on those
alone; only in the last row do both classes come from one hospital (NIH), which the network then never saw.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets.resnet import ResNet, ResNetBlock

from models.evaluation.metrics import Figure
from models.images.geometry import resize_u8
from models.images.intensity import U8, to_u8
from models.systems.preparation import Harmonised
from models.training import classify, data, harmonised
from models.training.fit import Plan, fit, warm_cosine
from models.training.losses import abnormal_first

SIDE, EPOCHS, PER_EPOCH, BATCH, SEED = 96, 8, 1024, 32, 666
LEFT_OUT = (("hannover", "jsrt"), ("covid-cxnet", "ieee8023", "jsrt"), ("nih-cxr14",))


def build() -> ResNet:
    """ResNet-18 of half the width."""
    return ResNet(
        ResNetBlock, [2, 2, 2, 2], [32, 64, 128, 256], spatial_dims=2, n_input_channels=1, num_classes=3,
        conv1_t_stride=2, bias_downsample=False,
    )  # fmt: skip


def crop(film: U8, lungs: Harmonised) -> U8:
    """The same box of the film without harmonising."""
    top, left, bottom, right = lungs.box
    return resize_u8(to_u8(film[top:bottom, left:right]), SIDE, SIDE, cubic=False)


def measure(cases: list[data.FilmCase], pictures: U8, out: Path, masked: bool) -> dict[str, Figure]:
    """Train on what is not left out; AUROC on what is."""
    torch.manual_seed(SEED)
    if not masked:
        pictures = np.concatenate((pictures[..., :-1], np.full_like(pictures[..., -1:], 255)), axis=-1)
    net, split = build().to(memory_format=torch.channels_last), classify.split_of(cases)
    chosen = torch.tensor([*split["train"], *split["val"], *split["test"]])
    truth = torch.tensor([data.CLASSES.index(case.label) for case in cases])
    sampling = classify.sampling_weights([cases[int(n)] for n in chosen])
    plan = Plan(EPOCHS, BATCH, PER_EPOCH, SEED, out / "sources.checkpoint", False, warm_cosine, sampling)

    def step(batch: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        numbers = chosen[batch]
        x = harmonised.augmented(classify.as_batch(pictures, numbers), random)
        return abnormal_first(net(x.contiguous(memory_format=torch.channels_last)).float(), truth[numbers])

    fit(plan, net, torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.02), step, lambda epoch: "")
    left = split["left-out"]
    p = classify.predict(net, pictures, left, torch.device("cpu")).double().softmax(1).numpy()
    return classify.unseen(p, [cases[n] for n in left], data.CLASSES)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.sources")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("trained"))
    given = parser.parse_args()
    everything = data.classifier_cases(given.data)
    seen = harmonised.pictures(everything, given.out, SIDE, "sources", lambda film, lungs: lungs.picture)
    plain = harmonised.pictures(everything, given.out, SIDE, "sources-crop", crop)
    for sources in LEFT_OUT:
        cases = data.classifier_cases(given.data, sources)
        for name, pictures in (("crop", plain), ("harmonised", seen)):
            for key, value in measure(cases, pictures, given.out, name == "harmonised").items():
                sys.stdout.write(f"{name:11} {key:50} {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
