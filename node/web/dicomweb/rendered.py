"""WADO-RS rendered resources and thumbnails (PS3.18 sections 8.3.5 and 10.4): pictures that any browser shows.

The parameters are window, viewport, annotation and quality. A picture is JPEG or PNG, of several frames also GIF. Words
of an annotation are the only identifying text that a picture can have, and only a client that asks for them gets them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from pydicom import Dataset

from node.core.errors import Refused
from node.db.catalogue import Held
from node.pipeline import shown
from node.pipeline.header import text_of
from node.pipeline.shown import Shown, Window
from node.results import lettering
from node.web.dicomweb.answers import BAD_REQUEST, NOT_ACCEPTABLE, Refusal
from node.web.dicomweb.media import GIF, PNG
from node.web.dicomweb.multipart import Writer
from node.web.dicomweb.resources import Objects
from node.web.dicomweb.retrieve import Body, numbers

THUMBNAIL_SIDE = 200
LARGEST_SIDE = 8192
MOST_GIF_FRAMES, GIF_SIDE, GIF_MILLISECONDS = 300, 512, 100
QUALITY = 90
FUNCTIONS = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}  # PS3.18 section 8.3.5.1.4
ANNOTATIONS = {  # what is written, from which attributes
    "patient": ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    "technique": ("StudyDate", "Modality", "KVP", "Exposure", "SliceThickness", "ConvolutionKernel"),
}
LETTERS, MARGIN = 14.0, 6.0  # pixels


@dataclass(frozen=True)
class Wish:
    """How it shall look. size: (width, height) of the viewport; region: (x, y, width, height) of the source, the whole
    image where it is None; a negative width or height turns it round."""

    window: Window | None = None
    size: tuple[int, int] | None = None
    may_enlarge: bool = True
    region: tuple[float, float, float, float] | None = None
    annotations: tuple[str, ...] = ()
    quality: int = QUALITY


def read(parameters: Mapping[str, str]) -> Wish:
    """Refusal where a parameter cannot be understood; those of others are ignored (PS3.18 section 8.3.5.1)."""
    size, region = _viewport(parameters["viewport"]) if "viewport" in parameters else (None, None)
    wanted = [word for word in parameters.get("annotation", "").split(",") if word]
    if set(wanted) - set(ANNOTATIONS):
        raise Refusal(BAD_REQUEST, f"annotation is a list of {' and '.join(ANNOTATIONS)}.")
    quality = parameters.get("quality", str(QUALITY))
    if not (quality.isascii() and quality.isdigit() and 1 <= int(quality) <= 100):
        raise Refusal(BAD_REQUEST, "quality is a whole number from 1 to 100.")
    window = _window(parameters["window"]) if "window" in parameters else None
    words = tuple(dict.fromkeys(wanted))
    return Wish(window, size, region=region, annotations=words, quality=int(quality))


def thumbnail(wish: Wish) -> Wish:
    """The same, small."""
    size = wish.size or (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return replace(wish, size=size, annotations=(), may_enlarge=bool(wish.size))


def _window(text: str) -> Window:
    parts = [part.strip() for part in text.split(",")]
    try:
        centre, width = float(parts[0]), float(parts[1])
        function = FUNCTIONS[parts[2].lower()] if len(parts) > 2 and parts[2] else "LINEAR"
    except (ValueError, KeyError, IndexError):
        raise Refusal(BAD_REQUEST, "window is a centre, a width and linear, linear-exact or sigmoid.") from None
    if not math.isfinite(centre) or not math.isfinite(width) or width < (1 if function == "LINEAR" else 1e-9):
        raise Refusal(BAD_REQUEST, "The width of a linear window is at least 1, that of others above 0.")
    return Window(centre, width, function)


def _viewport(text: str) -> tuple[tuple[int, int], tuple[float, float, float, float] | None]:
    parts = [part.strip() for part in text.split(",")]
    try:
        width, height = int(parts[0]), int(parts[1])
        region = [float(part or 0) for part in parts[2:]]
    except (ValueError, IndexError):
        raise Refusal(BAD_REQUEST, "viewport is a width and a height, and four numbers of the source.") from None
    if len(region) not in (0, 4) or not all(map(math.isfinite, region)):
        raise Refusal(BAD_REQUEST, "viewport is a width and a height, and four numbers of the source.")
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise Refusal(BAD_REQUEST, f"A viewport has 1 to {LARGEST_SIDE} pixels on each side.")
    return (width, height), (region[0], region[1], region[2], region[3]) if region else None


def instance(path: Path, media_type: str, wish: Wish) -> Body:
    """One picture of an object: of its middle frame, or of all of them as GIF."""
    count = shown.frame_count(path)
    if media_type == GIF:
        return Body(GIF, iter([_moving(path, count, wish)]))
    return Body(media_type, iter([_picture(path, count // 2, media_type, wish)]))


def frames(path: Path, listed: str, media_type: str, multipart: bool, wish: Wish) -> Body:
    """A picture of each frame."""
    indices = numbers(listed, shown.frame_count(path))
    if media_type == GIF:
        raise Refusal(NOT_ACCEPTABLE, "Frames are pictures of their own: ask for image/jpeg or image/png.")
    if len(indices) == 1 and not multipart:
        return Body(media_type, iter([_picture(path, indices[0], media_type, wish)]))
    return _several(((path, index) for index in indices), media_type, wish)


def several(found: Sequence[Held], objects: Objects, media_type: str, wish: Wish) -> Body:
    """A picture of each image of a study or series; what is no image is left out."""
    images = [(objects.path(one), index) for one in found for index in _middle(objects.path(one))]
    if not images:
        raise Refusal(NOT_ACCEPTABLE, "There is no image to be shown.")
    return _several(iter(images), media_type, wish)


def representative(found: Sequence[Held], objects: Objects, media_type: str, wish: Wish) -> Body:
    """One picture for many objects: the middle one of those received, else the first that is an image."""
    received = [one for one in found if not one.is_result]
    ordered = [*received[len(received) // 2 :], *received, *found]
    for one in ordered:
        for index in _middle(objects.path(one)):
            return Body(media_type, iter([_picture(objects.path(one), index, media_type, wish)]))
    raise Refusal(NOT_ACCEPTABLE, "There is no image to be shown.")


def _middle(path: Path) -> Iterator[int]:
    try:
        yield shown.frame_count(path) // 2
    except Refused:
        return


def _several(images: Iterator[tuple[Path, int]], media_type: str, wish: Wish) -> Body:
    writer = Writer.new(media_type)

    def parts() -> Iterator[bytes]:
        first = True
        for path, index in images:
            content = _picture(path, index, media_type, wish)
            yield writer.begin(media_type, first, length=len(content)) + content
            first = False
        yield writer.end()

    return Body(writer.content_type, parts())


def _picture(path: Path, index: int, media_type: str, wish: Wish) -> bytes:
    found = _worded(_placed(shown.frame(path, index, wish.window), wish), path, wish)
    made = io.BytesIO()
    if media_type == PNG:
        found.save(made, "PNG")
    else:
        found.save(made, "JPEG", quality=wish.quality)
    return made.getvalue()


def _moving(path: Path, count: int, wish: Wish) -> bytes:
    if count > MOST_GIF_FRAMES:
        raise Refusal(NOT_ACCEPTABLE, f"As GIF at most {MOST_GIF_FRAMES} frames are shown.")
    small = wish if wish.size else replace(wish, size=(GIF_SIDE, GIF_SIDE), may_enlarge=False)
    pictures = (_worded(_placed(shown.frame(path, index, wish.window), small), path, wish) for index in range(count))
    made, first = io.BytesIO(), next(pictures)
    first.save(made, "GIF", save_all=True, append_images=pictures, duration=GIF_MILLISECONDS, loop=0)
    return made.getvalue()


def _placed(found: Shown, wish: Wish) -> Image.Image:
    """The region of the source in the viewport, as large as fits, pixels as wide and high as they are."""
    picture = Image.fromarray(found.picture)
    if wish.region:
        picture = _cut(picture, wish.region)
    width, height = picture.width, max(1, round(picture.height * found.ratio))
    if wish.size:
        scale = min(wish.size[0] / width, wish.size[1] / height)
        scale = scale if wish.may_enlarge else min(scale, 1.0)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    if (width, height) == picture.size:
        return picture
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _cut(picture: Image.Image, region: tuple[float, float, float, float]) -> Image.Image:
    x, y, across, down = region
    across, down = across or picture.width, down or picture.height
    left, top = max(0, math.floor(x)), max(0, math.floor(y))
    right, bottom = min(picture.width, math.ceil(x + abs(across))), min(picture.height, math.ceil(y + abs(down)))
    if left >= right or top >= bottom:
        raise Refusal(BAD_REQUEST, "The region of the viewport is outside the image.")
    found = picture.crop((left, top, right, bottom))
    found = found.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if across < 0 else found
    return found.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if down < 0 else found


def _worded(picture: Image.Image, path: Path, wish: Wish) -> Image.Image:
    if not wish.annotations:
        return picture
    header = shown.header(path)
    found = picture.convert("RGB")
    lines = [line for name in wish.annotations if (line := _line(header, ANNOTATIONS[name]))]
    lettering.plates(found, [(line, LETTERS) for line in lines], MARGIN, 2.0)
    return found


def _line(header: Dataset, keywords: Sequence[str]) -> str:
    return "  ".join(text for keyword in keywords if (text := text_of(header, keyword)))
