"""A case: what one connection carries, made from a seed alone, and how the sender leaves.

A connection carries one thing that is wrong, or a row of ``ROW`` C-STOREs whose data sets all are. The same seed gives
the same bytes as long as this folder does not change; ``write`` keeps the bytes themselves, so that a case which failed
can be replayed for ever.
"""

from __future__ import annotations

import dataclasses
import json
import random
import zlib
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import messages
from tests.fuzz.mutations import mutate
from tests.fuzz.parts import Form, Part, plain

KINDS = ("request", "message", "message", "message", "sequence", "noise", "data sets", "data sets", "deflated")
ROWS, ROW = ("data sets", "deflated"), 16
LEAVES = ("releases", "aborts", "closes", "resets", "half-closes")


@dataclass(frozen=True)
class Case:
    """request: sent first. rest: sent once an answer has come. leaves: how the sender ends. door: "plain" or "tls".
    count: how many things are wrong, each made by a few mutations."""

    seed: int
    kind: str
    request: bytes
    rest: bytes
    leaves: str
    door: str = "plain"
    count: int = 1

    def write(self, path: Path) -> None:
        form = {**dataclasses.asdict(self), "request": self.request.hex(), "rest": self.rest.hex()}
        path.write_text(json.dumps(form) + "\n")

    @classmethod
    def read(cls, path: Path) -> Case:
        form = json.loads(path.read_text())
        return cls(**{**form, "request": bytes.fromhex(form["request"]), "rest": bytes.fromhex(form["rest"])})


def case(seed: int) -> Case:
    dice = random.Random(seed)
    kind = dice.choice(KINDS)
    leaves = "releases" if kind in ROWS else "waits" if dice.random() < 0.01 else dice.choice(LEAVES)
    door = "tls" if kind in ("request", "noise") and dice.random() < 0.1 else "plain"  # nobody speaks TLS here
    request, rest = _content(dice, kind, f"fuzz {seed}")
    return Case(seed, kind, request, rest, leaves, door, ROW if kind in ROWS else 1)


def _content(dice: random.Random, kind: str, seed: str) -> tuple[bytes, bytes]:
    largest = 16384 if kind in ROWS else dice.choice((0, 1, 7, 4096, 16384, 2**32 - 1))
    request = messages.associate_rq(largest=largest)
    message = dice.choice(messages.MESSAGES)(seed)
    if kind == "request":
        return _odd_request(dice, request), message.encode()
    if kind == "message":
        return request.encode(), mutate(dice, message).encode()
    if kind in ROWS:
        return request.encode(), b"".join(_store(dice, kind, f"{seed} {number}") for number in range(ROW))
    if kind == "sequence":
        several = [messages.release_rq(), messages.abort(), request]
        several += [dice.choice(messages.MESSAGES)(f"{seed} {number}") for number in range(3)]
        return request.encode(), _interleaved(dice, several)
    return _noise(dice), dice.randbytes(dice.choice((0, 1, 5, 6, 7, 4000)))


def _odd_request(dice: random.Random, request: Part) -> bytes:
    if dice.random() < 0.1:
        number, syntax = dice.choice((128, 1000, 3000)), (messages.CR, messages.EXPLICIT_LITTLE)
        return messages.associate_rq({2 * n + 1: syntax for n in range(number)}).encode()
    return mutate(dice, plain(request)).encode()


def _store(dice: random.Random, kind: str, seed: str) -> bytes:
    """A well-formed C-STORE-RQ of a data set that is not."""
    content = _deflated(dice, seed) if kind == "deflated" else mutate(dice, messages.film(seed)).encode()
    return store_of(content, 5 if kind == "deflated" else 3, seed)


def store_of(content: bytes, context: int, seed: str) -> bytes:
    """A C-STORE-RQ of these bytes as a data set."""
    command = messages.store(seed).inside
    assert not isinstance(command, bytes)
    values = (messages.value(context, 0 if begin + 8000 < len(content) else 2, content[begin : begin + 8000])
              for begin in range(0, max(1, len(content)), 8000))  # fmt: skip
    first = command[0].with_parts((0,), (dataclasses.replace(_first_value(command[0]), name=(context, 3)),))
    return b"".join((first.encode(), *(messages.pdu(0x04, one).encode() for one in values)))


def _first_value(part: Part) -> Part:
    assert not isinstance(part.inside, bytes) and part.inside[0].form is Form.VALUE
    return part.inside[0]


def _deflated(dice: random.Random, seed: str) -> bytes:
    """Inflates to a film with a fault, to far more than it should, or to nothing."""
    deflater = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    content = deflater.compress(mutate(dice, messages.film(seed)).encode())
    content += deflater.compress(bytes(dice.choice((0, 0, 0, 1 << 20)))) + deflater.flush()
    return content if dice.random() < 0.7 else content[: dice.randrange(len(content))]


def _interleaved(dice: random.Random, several: list[Part]) -> bytes:
    """The PDUs of several messages, each in its order or all in disorder."""
    found: list[bytes] = []
    for tree in several:
        parts = tree.inside if tree.form is Form.PLAIN and not isinstance(tree.inside, bytes) else (tree,)
        found += [part.encode() for part in parts]
    dice.shuffle(found)
    return b"".join(found[: dice.randrange(1, len(found) + 1)])


def _noise(dice: random.Random) -> bytes:
    client_hello = bytes.fromhex("16030102000100 01fc0303") + dice.randbytes(508)  # RFC 8446 section 4.1.2
    return dice.choice((client_hello, b"GET / HTTP/1.1\r\n\r\n", b"", dice.randbytes(3), dice.randbytes(900)))
