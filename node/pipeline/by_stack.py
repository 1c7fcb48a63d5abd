"""What can be said against a CT series by where its slices lie: tests with parameters, for ``config/selection.toml``.

One stack: one matrix, spacing and orientation; across the patient's long axis; each slice behind the last along the
normal and not beside it; nothing missing and nothing between. A tilted gantry moves the front of each slice against its
back and, since the table moves level, each slice sideways against the last: a system would see a sheared chest. Tests
answer None where they have nothing to say, else facts that name the first slice at fault, counted from the feet. They
are silent on a series with a slice that does not say where it lies, of which ``NoPlace`` speaks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np

from node.pipeline.header import text_of
from node.pipeline.objections import Facts
from node.pipeline.stack import Plane, Stack, numbers, stack_of, usual_step

SLICE = ("slice", "slices", "image")  # 5, 20, "image number 12"


class Placed(Protocol):
    """A candidate, as far as it is asked here."""

    @property
    def plane(self) -> Plane: ...


Run = Sequence[Placed]


@dataclass(frozen=True)
class NoPlace:
    """An image lacks its position or its orientation in the patient."""

    tells: ClassVar = ("missing", "images")

    def __call__(self, run: Run) -> Facts | None:
        missing = sum(not item.plane.is_placed for item in run)
        return {"missing": missing, "images": len(run)} if missing else None


@dataclass(frozen=True)
class Differs:
    """The images do not all say the same of the attributes."""

    tells: ClassVar = SLICE
    attributes: tuple[str, ...]

    def __call__(self, run: Run) -> Facts | None:
        said = [tuple(text_of(item.plane.header, name) for name in self.attributes) for item in run]
        return _of_stack(run, lambda stack: _first(stack, stack.odd(said)))


@dataclass(frozen=True)
class SpacingDiffers:
    """Pixel Spacing differs by more than ``most_share``; it may be missing, of all images alike."""

    tells: ClassVar = SLICE
    most_share: float

    def __call__(self, run: Run) -> Facts | None:
        found = [numbers(item.plane.header, "PixelSpacing", 2) for item in run]
        return _of_stack(run, lambda stack: _first(stack, self._odd(stack, found)))

    def _odd(self, stack: Stack, found: Sequence[np.ndarray | None]) -> list[int]:
        texts = [str(one) for one in found]
        others = set(stack.odd(texts))
        usual = next(one for index, one in enumerate(found) if index not in others)
        if usual is None:
            return stack.odd(texts)
        same = [one is not None and np.allclose(one, usual, rtol=self.most_share, atol=0) for one in found]
        return [index for index in stack.order if not same[index]]


@dataclass(frozen=True)
class Turns:
    """The direction cosines of an image differ from those of most by more than ``most_difference``."""

    tells: ClassVar = SLICE
    most_difference: float

    def __call__(self, run: Run) -> Facts | None:
        return _of_stack(run, lambda stack: _first(stack, stack.turned(self.most_difference)))


@dataclass(frozen=True)
class NotAxial:
    """The slices stand upright in the patient."""

    tells: ClassVar = ("plane",)

    def __call__(self, run: Run) -> Facts | None:
        def said(stack: Stack) -> Facts | None:
            axis = int(np.argmax(np.abs(stack.normal)))
            return None if axis == 2 else {"plane": ("sagittal", "coronal")[axis]}

        return _of_stack(run, said)


@dataclass(frozen=True)
class Tilted:
    """The slice normal is steeper than ``steepest_degrees`` against the patient's long axis."""

    tells: ClassVar = ("degrees",)
    steepest_degrees: float

    def __call__(self, run: Run) -> Facts | None:
        def said(stack: Stack) -> Facts | None:
            return _too_steep(_degrees(abs(float(stack.normal[2]))), self.steepest_degrees)

        return _of_stack(run, said)


@dataclass(frozen=True)
class NotUpright:
    """The rows of axial slices run more than ``most_degrees`` beside the patient's left-right and front-back axes."""

    tells: ClassVar = ("degrees",)
    most_degrees: float

    def __call__(self, run: Run) -> Facts | None:
        def said(stack: Stack) -> Facts | None:
            return _too_steep(_degrees(float(np.abs(stack.usual[:2]).max())), self.most_degrees)

        return _of_stack(run, said)


@dataclass(frozen=True)
class FewPlaces:
    """The images lie at fewer than ``least`` places."""

    tells: ClassVar = ("places",)
    least: int

    def __call__(self, run: Run) -> Facts | None:
        return _of_stack(run, lambda s: {"places": len(s.firsts)} if len(s.firsts) < self.least else None)


@dataclass(frozen=True)
class Beside:
    """A slice lies more than ``most_mm`` beside the line on which the others lie."""

    tells: ClassVar = (*SLICE, "mm")
    most_mm: float

    def __call__(self, run: Run) -> Facts | None:
        def said(stack: Stack) -> Facts | None:
            _, off = _line(stack)
            worst = int(np.argmax(off))
            return {**_named(stack, worst), "mm": float(off[worst])} if off[worst] > self.most_mm else None

        return _of_stack(run, said)


@dataclass(frozen=True)
class Sheared:
    """The line on which the slices lie leans more than ``steepest_degrees`` against their normal."""

    tells: ClassVar = ("degrees",)
    steepest_degrees: float

    def __call__(self, run: Run) -> Facts | None:
        return _of_stack(run, lambda stack: _too_steep(_line(stack)[0], self.steepest_degrees))


@dataclass(frozen=True)
class Interleaved:
    """Images that say different things of the attributes lie among each other, not one lot above the other."""

    tells: ClassVar = SLICE
    attributes: tuple[str, ...]

    def __call__(self, run: Run) -> Facts | None:
        labels = [tuple(text_of(item.plane.header, name) for name in self.attributes) for item in run]

        def said(stack: Stack) -> Facts | None:
            ended: set[tuple[str, ...]] = set()
            last = labels[stack.order[0]]
            for index in stack.order:
                if labels[index] in ended:
                    return _named(stack, index)
                if labels[index] != last:
                    ended.add(last)
                    last = labels[index]
            return None

        return _of_stack(run, said)


@dataclass(frozen=True)
class Steps:
    """A step from one place to the next is more than ``most`` or less than ``least`` usual ones."""

    tells: ClassVar = (*SLICE, "next", "mm", "usual")
    least: float = 0.0
    most: float = math.inf

    def __call__(self, run: Run) -> Facts | None:
        def said(stack: Stack) -> Facts | None:
            if len(stack.firsts) < 2:
                return None
            usual = usual_step(stack.steps)
            neighbours = pairwise(stack.firsts)
            for (here, there), step in zip(neighbours, stack.steps.tolist(), strict=True):
                if not self.least * usual <= step <= self.most * usual:
                    return {**_named(stack, here), "next": stack.planes[there].name, "mm": step, "usual": usual}
            return None

        return _of_stack(run, said)


def _of_stack(run: Run, said: Callable[[Stack], Facts | None]) -> Facts | None:
    stack = stack_of([item.plane for item in run])
    return None if stack is None else said(stack)


def _first(stack: Stack, at_fault: Sequence[int]) -> Facts | None:
    return _named(stack, at_fault[0]) if at_fault else None


def _named(stack: Stack, index: int) -> Facts:
    return {"slice": stack.counted(index), "slices": len(stack.planes), "image": stack.planes[index].name}


def _degrees(cosine: float) -> float:
    return math.degrees(math.acos(min(1.0, cosine)))


def _too_steep(degrees: float, most: float) -> Facts | None:
    return {"degrees": round(degrees)} if degrees > most else None


def _line(stack: Stack) -> tuple[float, np.ndarray]:
    """(degrees that the line of the corners leans against the normal; mm that each corner lies beside that line)."""
    along = stack.places - stack.places.mean()
    sideways = stack.positions - stack.positions.mean(axis=0) - along[:, None] * stack.normal
    drift = along @ sideways / max(float(along @ along), 1e-12)  # mm sideways for each mm along the normal
    beside = np.linalg.norm(sideways - along[:, None] * drift, axis=1)
    return math.degrees(math.atan(float(np.linalg.norm(drift)))), beside


TESTS: dict[str, type] = {
    "no-place": NoPlace,
    "differs": Differs,
    "spacing-differs": SpacingDiffers,
    "turns": Turns,
    "not-axial": NotAxial,
    "tilted": Tilted,
    "not-upright": NotUpright,
    "few-places": FewPlaces,
    "beside": Beside,
    "sheared": Sheared,
    "interleaved": Interleaved,
    "steps": Steps,
}
