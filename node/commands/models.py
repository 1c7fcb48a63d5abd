"""The commands that need models and no running node, ``train``, ``evaluate``, ``explain``: as in ``cli``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from node.commands.arguments import RESEARCH, count
from node.core import heap
from node.core.errors import Misconfigured


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _add_train(commands)
    _add_evaluate(commands)
    _add_explain(commands)


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
    heap.has_started()
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
    heap.has_started()
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


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    words = f"Which pieces of a film speak for what a system says of it, and which against it (LIME). {RESEARCH}"
    explain = commands.add_parser("explain", help="which pieces of a film a system goes by (LIME)", description=words)
    explain.add_argument("study", nargs="?", metavar="STUDY_UID")
    explain.add_argument("--data", type=Path, metavar="DIR", help="the node that stores the study")
    explain.add_argument("--files", type=Path, nargs="+", metavar="PATH", help="files or folders instead of a study")
    explain.add_argument("--system", default="cxnet", metavar="SYSTEM", help="(cxnet)")
    explain.add_argument("--samples", type=count, default=1000, metavar="N", help="pictures the network sees (1000)")
    explain.add_argument("--out", type=Path, default=Path("explained"), metavar="DIR")
    explain.set_defaults(run=_explain)


def _explain(parsed: argparse.Namespace) -> int:
    from node.commands import explaining

    if parsed.files and not parsed.study and not parsed.data:
        return explaining.files(parsed.files, parsed.system, parsed.out, parsed.samples)
    if parsed.files or not parsed.study or not parsed.data:
        raise Misconfigured("explain needs STUDY_UID --data DIR, or --files PATH...")
    return explaining.stored(parsed.data, parsed.study, parsed.system, parsed.out, parsed.samples)
