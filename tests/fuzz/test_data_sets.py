"""Data sets that are cut, lie of their lengths or explode: refused, or stored as what they are, and memory stays.

Cut at every byte: one that ends between two elements behind its UIDs is a whole data set and stored byte for byte, any
other is refused. Not covered: what the workers make of them (tests/e2e/test_hostile_pixels.py).
"""

from __future__ import annotations

import struct
import zlib

import pytest

from tests.films import uid
from tests.fuzz import messages
from tests.fuzz.cases import store_of
from tests.fuzz.conversation import P_DATA_TF, associated, read, status
from tests.fuzz.parts import Part, explicit, plain
from tests.fuzz.target import Target

SUCCESS, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0xA900, 0xC000  # PS3.4 Table B.2-1
LARGEST_GROWTH = 400 << 20  # bytes at the peak: one data set is inflated at a time, to at most 100 MB here
UNKNOWN = b"\x09\0\0\x10UN\0\0"  # (0009,1000)
ENDLESS = b"\xff\xff\xff\xff"
ITEM = b"\xfe\xff\0\xe0"


def sent(running: Target, content: list[tuple[str, bytes]], context: int = 3) -> list[int]:
    """The statuses of C-STOREs of these data sets under these seeds, all on one association, one by one."""
    found = []
    with associated(running.node.dicom_port) as connection:
        for seed, data in content:
            connection.sendall(store_of(data, context, seed))
            kind, body = read(connection)
            assert kind == P_DATA_TF, seed
            found.append(status(body))
    return found


def ends(film: Part) -> set[int]:
    """Offsets at which a data set may end: behind an element, the UIDs and what is before them included."""
    assert not isinstance(film.inside, bytes)
    position, found = 0, set()
    for element in film.inside:
        position += len(element.encode())
        if element.name >= (0x0020, 0x000E):
            found.add(position)
    return found


def test_cut_at_every_byte(running: Target) -> None:
    length = len(messages.film("cut 0").encode())
    films = [(f"cut {offset}", messages.film(f"cut {offset}")) for offset in range(1, length)]
    statuses = sent(running, [(seed, film.encode()[:offset]) for offset, (seed, film) in enumerate(films, start=1)])
    for offset, ((seed, film), found) in enumerate(zip(films, statuses, strict=True), start=1):
        whole = offset in ends(film)
        assert (found == SUCCESS) is whole, (offset, hex(found))
        rows = running.node.rows("SELECT bytes FROM instances WHERE sop_uid = ?", uid("instance", seed))
        assert [row["bytes"] for row in rows] == ([offset] if whole else [])
    assert running.sound() == []


def test_a_deflated_one_cut_at_every_byte_is_refused(running: Target) -> None:
    content = _deflated(messages.film("deflated cut").encode())
    statuses = sent(running, [("deflated cut", content[:end]) for end in range(1, len(content))], context=5)
    assert set(statuses) == {NOT_UNDERSTOOD}
    assert sent(running, [("deflated cut", content)], context=5) == [SUCCESS]


def _deflated(*parts: bytes) -> bytes:
    deflater = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    return b"".join(deflater.compress(part) for part in parts) + deflater.flush()


def test_bombs_are_refused_and_memory_stays(running: Target) -> None:
    """120 MB in an element where the settings allow 100, and a million elements."""
    before = running.memory()
    zeros = explicit(0x7FE00010, b"OB", b"", 120 << 20).encode() + bytes(120 << 20)
    many = b"".join(struct.pack("<HH2sH", 0x3001 + 2 * (n >> 15), n & 0x7FFF, b"LO", 0) for n in range(1_000_000))
    head = messages.film("bomb").encode()[:-28]
    bombs = [("bomb", _deflated(head, tail)) for tail in (zeros, many)]
    assert set(sent(running, bombs, context=5)) == {NOT_UNDERSTOOD}
    assert running.peak() - before < LARGEST_GROWTH
    assert running.sound() == []


def test_a_large_one_that_is_cut_is_refused_like_a_small_one(running: Target) -> None:
    """Larger than what is held in memory: it is read from its file."""
    large = messages.film("large cut").encode()[:-28] + explicit(0x7FE00010, b"OB", bytes(3 << 20)).encode()
    assert sent(running, [("large cut", large[:-10]), ("large cut", large)]) == [NOT_UNDERSTOOD, SUCCESS]
    assert running.sound() == []


def _with(more: bytes, seed: str) -> bytes:
    """A film with ``more`` behind its private creator."""
    whole = messages.film(seed).encode()
    creator = explicit(0x00090010, b"LO", b"FUZZ PRIVATE").encode()
    before, after = whole.split(creator)
    return before + creator + more + after


LIES = {
    "4 GB by its own word": UNKNOWN + b"\xfe\xff\xff\xff",
    "unknown without an end": UNKNOWN + ENDLESS,
    "an item without an end": UNKNOWN + ENDLESS + ITEM + ENDLESS,
    "items that never end": UNKNOWN + ENDLESS + (ITEM + bytes(4)) * 5000,
    "an item of 4 GB": UNKNOWN + ENDLESS + ITEM + b"\xfe\xff\xff\xff",
    "the end of a sequence alone": b"\xfe\xff\xdd\xe0" + bytes(4),
    "ten thousand deep without lengths": (UNKNOWN + ENDLESS + ITEM + ENDLESS) * 10_000,
}
STRANGE = {
    "a group length that lies": b"\x09\0\x11\0UL\4\0" + ENDLESS,
    "an odd length": b"\x09\0\x11\0LO\3\0abc",
    "unknown that is implicit within": UNKNOWN
    + ENDLESS
    + ITEM
    + b"\x08\0\0\0\x08\0\1\0\0\0\0\0"
    + b"\xfe\xff\xdd\xe0"
    + bytes(4),
    "a sequence of noise": b"\x09\0\0\x10SQ\0\0" + struct.pack("<I", 64) + bytes(range(64)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_length_that_lies_is_refused(running: Target, lie: str) -> None:
    assert sent(running, [(lie, _with(LIES[lie], lie))]) == [NOT_UNDERSTOOD]


@pytest.mark.parametrize("strange", STRANGE)
def test_what_is_strange_but_whole_is_stored(running: Target, strange: str) -> None:
    assert sent(running, [(strange, _with(STRANGE[strange], strange))]) == [SUCCESS]


@pytest.mark.parametrize(
    "text", [b"../../../x", b"/etc/passwd", b"1.2\0.3", b"1. 2", b"1" * 65, b"", b"\xff\xfe", b"1.2.", b"-1"]
)
@pytest.mark.parametrize("tag", [0x00080018, 0x0020000D, 0x0020000E])
def test_a_uid_that_is_none_makes_no_file(running: Target, tag: int, text: bytes) -> None:
    seed = f"path {tag} {text!r}"
    film = messages.film(seed)
    assert not isinstance(film.inside, bytes)
    changed = plain(*(explicit(tag, b"UI", text) if p.name == (tag >> 16, tag & 0xFFFF) else p for p in film.inside))
    before = running.files()
    assert sent(running, [(seed, changed.encode())])[0] in (NOT_UNDERSTOOD, MISMATCH)
    assert running.files() == before
