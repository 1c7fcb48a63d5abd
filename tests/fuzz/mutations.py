"""One fault at a time in a tree of ``parts``: lengths that lie, parts lost, doubled, moved and made up, bytes turned.

Each mutation takes a random generator, the tree and the path of one of its parts, and gives the tree with the fault.
The same generator state gives the same fault.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from tests.fuzz.parts import Form, Part, explicit, implicit, item, pdu, value

Path = tuple[int, ...]
Mutation = Callable[[random.Random, Part, Path], Part]
VRS = [b"AE", b"AT", b"CS", b"DS", b"FD", b"IS", b"LO", b"OB", b"OW", b"PN", b"SQ", b"UI", b"UN", b"US", b"UT", b"ZZ",
       b"\0\0", b"--"]  # fmt: skip
TEXTS = [b"", b"../../../../etc/passwd", b"/tmp/x", b"1.2.\0.3", b" 1.2 ", b"1." * 32 + b"1", b"1.2..3", b"\xff" * 64,
         b"%s%n%x", b"\x1b$B", b"1\\2\\3", b"A" * 3000, b"\0" * 17, b"-1", b"1e999", b"NaN"]  # fmt: skip
MOST = 4000  # times that one part is repeated
LONGEST = 1 << 19  # bytes of a case


def mutate(dice: random.Random, tree: Part) -> Part:
    """One or a few faults, anywhere in the tree."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        paths = [path for path, _ in tree.walk() if path]
        if not paths:
            return tree
        tree = dice.choice(MUTATIONS)(dice, tree, dice.choice(paths))
    return tree


def at(tree: Part, path: Path) -> Part:
    for number in path:
        assert not isinstance(tree.inside, bytes)
        tree = tree.inside[number]
    return tree


def lie(dice: random.Random, tree: Part, path: Path) -> Part:
    """A length that is not the true one."""
    part = at(tree, path)
    true = len(part.encode())
    claims = [0, 1, 2, 3, true - 1, true + 1, true // 2, true * 2, 0x7FFF, 0xFFFF, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFE]
    return tree.with_parts(path, (dataclasses.replace(part, claim=dice.choice([*claims, 0xFFFFFFFF])),))


def lose(dice: random.Random, tree: Part, path: Path) -> Part:
    return tree.with_parts(path, ())


def repeat(dice: random.Random, tree: Part, path: Path) -> Part:
    part = at(tree, path)
    times = min(dice.choice((2, 2, 3, 17, MOST)), max(2, LONGEST // max(1, len(part.encode()))))
    return tree.with_parts(path, (part,) * times)


def rename(dice: random.Random, tree: Part, path: Path) -> Part:
    """Another type, context or tag."""
    part = at(tree, path)
    name = [*part.name]
    numbers = [0, 1, 2, 3, name[0] + 1, name[0] ^ 0x80, name[1] ^ 1, 0x10, 0x50, 0x7F, 0xFF, dice.randrange(1 << 16)]
    name[dice.randrange(2)] = dice.choice(numbers)
    return tree.with_parts(path, (dataclasses.replace(part, name=(name[0], name[1])),))


def retype(dice: random.Random, tree: Part, path: Path) -> Part:
    """An element of another VR; of anything else, another value."""
    part = at(tree, path)
    if part.form is not Form.EXPLICIT:
        return refill(dice, tree, path)
    return tree.with_parts(path, (dataclasses.replace(part, vr=dice.choice(VRS)),))


def refill(dice: random.Random, tree: Part, path: Path) -> Part:
    """Other bytes inside, with a length that is true."""
    noise = dice.randbytes(dice.choice((0, 1, 2, 3, 4, 7, 64, 65, 2000)))
    number = dice.choice((0, 1, 0x0101, 0x7FFF, 0x8001, 0xFFFF)).to_bytes(2, "little")
    return tree.with_parts(path, (dataclasses.replace(at(tree, path), inside=dice.choice((noise, number, *TEXTS))),))


def swap(dice: random.Random, tree: Part, path: Path) -> Part:
    """With a neighbour."""
    above = at(tree, path[:-1])
    assert not isinstance(above.inside, bytes)
    parts = list(above.inside)
    here, other = path[-1], dice.randrange(len(parts))
    parts[here], parts[other] = parts[other], parts[here]
    changed = dataclasses.replace(above, inside=tuple(parts))
    return tree.with_parts(path[:-1], (changed,)) if path[:-1] else changed


def turn_bits(dice: random.Random, tree: Part, path: Path) -> Part:
    content = bytearray(at(tree, path).encode())
    for _ in range(dice.choice((1, 1, 2, 8))):
        if content:
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return tree.with_parts(path, (Part(Form.PLAIN, (0, 0), bytes(content)),))


def cut(dice: random.Random, tree: Part, path: Path) -> Part:
    content = at(tree, path).encode()
    return tree.with_parts(path, (Part(Form.PLAIN, (0, 0), content[: dice.randrange(len(content) + 1)]),))


def add(dice: random.Random, tree: Part, path: Path) -> Part:
    """Something that does not belong there, before the part."""
    stranger = dice.choice((
        pdu(dice.randrange(256), dice.randbytes(dice.choice((0, 4, 68)))),
        item(dice.randrange(256), dice.randbytes(dice.choice((0, 3, 40)))),
        value(dice.randrange(256), dice.randrange(256), b""),
        value(dice.choice((1, 3, 5)), dice.randrange(4), dice.randbytes(dice.choice((0, 1, 50)))),
        implicit(dice.randrange(1 << 32), dice.randbytes(8)),
        explicit(dice.randrange(1 << 32), dice.choice(VRS), dice.choice(TEXTS)),
        explicit(0x00080000, b"UL", b"\xff\xff\xff\xff"),
    ))  # fmt: skip
    return tree.with_parts(path, (stranger, at(tree, path)))


def nest(dice: random.Random, tree: Part, path: Path) -> Part:
    """Sequences within sequences, without lengths and mostly without an end."""
    deep, explicit_vr = dice.choice((3, 63, 66, 2000, 10000)), dice.random() < 0.5
    opening = b"\x08\0\x18\x22" + (b"SQ\0\0" if explicit_vr else b"") + b"\xff" * 4 + b"\xfe\xff\0\xe0" + b"\xff" * 4
    closing = b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)
    content = opening * deep + closing * dice.choice((0, deep))
    return tree.with_parts(path, (Part(Form.PLAIN, (0, 0), content), at(tree, path)))


def split(dice: random.Random, tree: Part, path: Path) -> Part:
    """A presentation data value in fragments of 0 and 1 bytes; of anything else, a repetition."""
    part = at(tree, path)
    if part.form is not Form.VALUE:
        return repeat(dice, tree, path)
    content = dataclasses.replace(part, claim=None).encode()[6:][:3000]
    context, control = part.name
    size = dice.choice((0, 1, 1, 2))
    pieces = [content[n : n + size] for n in range(0, len(content), size)] if size else [b""] * MOST
    values = [value(context, control & ~2, piece) for piece in pieces] + [value(context, control, b"")]
    return tree.with_parts(path, (*values,))


MUTATIONS: tuple[Mutation, ...] = (
    lie, lie, lie, lose, repeat, rename, rename, retype, refill, refill, swap, turn_bits, turn_bits, cut, add, nest,
    split,
)  # fmt: skip
