"""The files under docker/ as data: instructions of the Dockerfile, services of the compose files with what they say of
the node. Knows the settings of the node, to say which of an environment exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from node.core import settings
from node.core.errors import Misconfigured
from node.core.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
UID = 10001  # of the user lungnode in the image


@dataclass(frozen=True)
class Instruction:
    """stage: the name of its build stage, the number of an unnamed one."""

    stage: str
    word: str
    text: str


def instructions(text: str) -> Iterator[Instruction]:
    """Of a Dockerfile, comments left out and continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    stage, number = "", 0
    for line in re.sub(r"\\\n\s*", " ", lines).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            named = re.search(r"\bAS (\S+)$", rest)
            stage, number = (named[1] if named else str(number)), number + 1
        if word:
            yield Instruction(stage, word, rest.strip())


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))
    return found


def effective(environment: Mapping[str, str]) -> Settings:
    """What a node with this environment would run by; ``Misconfigured`` where it would not start."""
    ours = {name: text for name, text in environment.items() if name.startswith("LUNGNODE_")}
    if unset := [name for name, text in ours.items() if "${" in text and ":-" not in text]:
        raise Misconfigured(f"{unset} have no value where nobody sets one")
    return settings.load(None, {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text) for name, text in ours.items()}, {})


DOCKERFILE = list(instructions((DOCKER / "Dockerfile").read_text(encoding="utf-8")))
FINAL = [one for one in DOCKERFILE if one.stage == DOCKERFILE[-1].stage]


def nodes(file: str) -> dict[str, dict[str, Any]]:
    """The services of a compose file that run our image."""
    return {name: one for name, one in compose(file)["services"].items() if "build" in one}
