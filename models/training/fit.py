"""The loop: seeded batches, mixed precision, learning-rate schedule, checkpoint after each epoch, resume after a kill.

A plan that is to ``find_rate`` ends in ``RateFound`` instead: the range test of ``rates``, over the same batches.

A resumed run goes through the same batches as one that was never stopped: everything random is drawn from a generator
seeded by (seed, epoch).
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from torch import Tensor, nn

from models.training.rates import RateFound, range_test
from models.training.weights import full_precision

logger = logging.getLogger(__name__)
Step = Callable[[Tensor, torch.Generator], Tensor]  # (case numbers, random) -> loss


class BadRun(Exception):
    """The run cannot be begun or gone on with; one sentence why."""


@dataclass(frozen=True)
class Plan:
    """One training run. ``rate(progress)``: factor on the learning rate, progress in 0..1 over all steps."""

    epochs: int
    batch: int
    cases: int
    seed: int
    checkpoint: Path
    resume: bool = False
    rate: Callable[[float], float] = lambda progress: 1.0
    weights: Tensor | None = None  # sampling weight of each case; None draws each once per epoch
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    films: tuple[str, ...] = ()  # identifiers of the training cases: a checkpoint of others is not gone on with
    find_rate: bool = False


@dataclass(frozen=True)
class Stage:
    """Part of a run of growing input size: side of the square input, epochs, highest learning rate."""

    side: int
    epochs: int
    rate: float


@dataclass(frozen=True)
class Order:
    """What the caller of a recipe asks for. epochs, steps: instead of the recipe's own length, in each of its stages;
    steps (of the optimiser) are rounded up to whole epochs. without: sources of films never to be seen. find_rate:
    the range test of the first stage, and no training. start: weights of an earlier run to go on from."""

    device: str = "auto"
    epochs: int | None = None
    steps: int | None = None
    seed: int = 666
    resume: bool = False
    without: tuple[str, ...] = ()
    find_rate: bool = False
    start: Path | None = None

    def begin(self, net: nn.Module) -> bool:
        """Whether there is a ``start``; its weights are then in the net."""
        if self.start is None:
            return False
        try:
            net.load_state_dict(full_precision(self.start))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise BadRun(f"{self.start} does not hold weights of this system: {error}") from error
        return True

    def length(self, usual: int, batch: int, cases: int) -> int:
        """Epochs to train."""
        if self.steps is not None:
            return -(-self.steps // max(1, cases // batch))
        return self.epochs or usual

    def plan(
        self,
        usual: int,
        batch: int,
        cases: int,
        checkpoint: Path,
        rate: Callable[[float], float],
        device: torch.device,
        sampling: Tensor | None = None,
        films: tuple[str, ...] = (),
    ) -> Plan:
        epochs = self.length(usual, batch, cases)
        resume, find = self.resume, self.find_rate
        return Plan(epochs, batch, cases, self.seed, checkpoint, resume, rate, sampling, device, films, find)


def warm_cosine(progress: float) -> float:
    """Linear warm-up over the first twentieth, then a cosine to one hundredth."""
    return progress / 0.05 if progress < 0.05 else 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def choose_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def fit(
    plan: Plan, model: nn.Module, optimiser: torch.optim.Optimizer, step: Step, after_epoch: Callable[[int], str]
) -> list[float]:
    """Train; returns the mean loss of every epoch. ``after_epoch(epoch)`` validates and gives a line to show."""
    per_epoch = plan.cases // plan.batch
    if not per_epoch:
        raise BadRun(f"{plan.cases} training cases are fewer than one batch of {plan.batch}")
    if plan.find_rate:
        raise _rate_found(plan, model, optimiser, step)
    begun, losses = _load(plan, model, optimiser) if plan.resume and plan.checkpoint.exists() else (0, [])
    base_rates = [group.setdefault("initial_lr", group["lr"]) for group in optimiser.param_groups]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=plan.epochs * per_epoch, completed=begun * per_epoch)
        for epoch in range(begun, plan.epochs):
            random = torch.Generator().manual_seed(plan.seed * 100_003 + epoch)
            torch.manual_seed(plan.seed * 100_003 + epoch)  # dropout
            model.train()
            total = 0.0
            for number, batch in enumerate(_batches(plan, random)):
                factor = plan.rate((epoch * per_epoch + number) / (plan.epochs * per_epoch))
                for group, rate in zip(optimiser.param_groups, base_rates, strict=True):
                    group["lr"] = rate * factor
                total += _learn(plan, optimiser, step, batch, random)
                said = f"epoch {epoch + 1} loss {total / (number + 1):.4f} rate {optimiser.param_groups[0]['lr']:.1e}"
                progress.update(bar, advance=1, description=said)
            losses.append(total / per_epoch)
            model.eval()
            line = after_epoch(epoch)
            progress.console.print(f"epoch {epoch + 1}/{plan.epochs} loss {losses[-1]:.4f} {line}")
            _save(plan, model, optimiser, epoch + 1, losses)
    return losses


def _learn(plan: Plan, optimiser: torch.optim.Optimizer, step: Step, batch: Tensor, random: torch.Generator) -> float:
    """One step; the loss before it."""
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast(plan.device.type, torch.bfloat16):
        loss = step(batch, random)
    loss.backward()
    optimiser.step()
    return loss.item()


def _rate_found(plan: Plan, model: nn.Module, optimiser: torch.optim.Optimizer, step: Step) -> RateFound:
    random = torch.Generator().manual_seed(plan.seed)
    torch.manual_seed(plan.seed)  # dropout
    model.train()
    batches = chain.from_iterable(_batches(plan, random) for _ in count())
    usual = float(optimiser.param_groups[0]["lr"])
    return RateFound(range_test(lambda: _learn(plan, optimiser, step, next(batches), random), optimiser), usual)


def _mark(plan: Plan) -> str:
    """What a run must share with a checkpoint; not the number of epochs, which may be raised."""
    return hashlib.sha256(repr((plan.seed, plan.batch, plan.cases, plan.films)).encode()).hexdigest()


def _batches(plan: Plan, random: torch.Generator) -> list[Tensor]:
    if plan.weights is not None:
        order = torch.multinomial(plan.weights, plan.cases, replacement=True, generator=random)
    else:
        order = torch.randperm(plan.cases, generator=random)
    return list(order[: plan.cases // plan.batch * plan.batch].split(plan.batch))


def _save(plan: Plan, model: nn.Module, optimiser: torch.optim.Optimizer, epoch: int, losses: list[float]) -> None:
    plan.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    temporary = plan.checkpoint.with_suffix(".part")
    content = {
        "run": _mark(plan),
        "epoch": epoch,
        "losses": losses,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    torch.save(content, temporary)
    temporary.replace(plan.checkpoint)


def _load(plan: Plan, model: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, list[float]]:
    state = torch.load(plan.checkpoint, weights_only=True, map_location=plan.device)
    if state.get("run") != _mark(plan):
        raise BadRun("the checkpoint is of another run (other films, seed or batch); use another --out")
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["epoch"]), list(state["losses"])
