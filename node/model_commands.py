"""The commands that need models and no node, ``train`` and ``evaluate``: parsing and exit codes, as in ``cli``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from node.arguments import RESEARCH, count


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _add_train(commands)
    _add_evaluate(commands)


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser("train", help="train a system from scratch", description=f"Train. {RESEARCH}")
    train.add_argument("system", metavar="SYSTEM")
    train.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder with the training data")
    train.add_argument("--out", type=Path, default=Path("trained"), metavar="DIR")
    train.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    length = train.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=count, metavar="N", help="instead of the recipe's own, in each of its stages")
    length.add_argument("--steps", type=count, metavar="N", help="of the optimiser, rounded up to whole epochs")
    train.add_argument("--seed", type=int, default=666)
    train.add_argument("--resume", action="store_true")
    train.add_argument("--without", nargs="+", default=(), metavar="SOURCE", help="sources of films never to be seen")
    train.add_argument("--start", type=Path, metavar="FILE", help="weights of an earlier run to go on from")
    train.add_argument("--find-rate", action="store_true", help="instead of training, test which learning rate to try")
    train.set_defaults(run=_train)


def _train(parsed: argparse.Namespace) -> int:
    training = importlib.import_module("models.training.train")
    return int(
        training.main(
            parsed.system,
            parsed.data,
            parsed.out,
            device=parsed.device,
            epochs=parsed.epochs,
            steps=parsed.steps,
            seed=parsed.seed,
            resume=parsed.resume,
            without=parsed.without,
            find_rate=parsed.find_rate,
            start=parsed.start,
        )
    )


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser("evaluate", help="judge a system on held-out data", description=f"Judge. {RESEARCH}")
    evaluate.add_argument("system", metavar="SYSTEM")
    evaluate.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder with the data")
    evaluate.add_argument("--out", type=Path, default=Path("evaluated"), metavar="DIR")
    evaluate.add_argument("--against", metavar="SYSTEM", help="a second film classifier, compared film by film")
    evaluate.add_argument("--segmenter", default="unet-lung", metavar="SYSTEM", help="finds the lung field (unet-lung)")
    evaluate.add_argument("--limit", type=count, metavar="N", help="so many films at most, for a trial")
    evaluate.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    evaluate.set_defaults(run=_evaluate)


def _evaluate(parsed: argparse.Namespace) -> int:
    evaluation = importlib.import_module("models.evaluation.run")
    return int(
        evaluation.main(
            parsed.system,
            parsed.data,
            parsed.out,
            against=parsed.against,
            segmenter=parsed.segmenter,
            limit=parsed.limit,
            device=parsed.device,
        )
    )
