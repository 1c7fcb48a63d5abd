"""The reader of multipart messages: the pieces in which a message comes do not matter, and what is written is read.

Not covered: nested multipart and transfer encodings of parts, which DICOMweb has not.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from node.web.dicomweb.multipart import Begin, Data, End, Malformed, Reader, Writer

CONTENT = some.lists(some.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"x", b"--bo", b"\r\n--", b"\0"])).map(
    b"".join
)


def read(message: bytes, boundary: str, sizes: list[int]) -> list[tuple[dict[str, str], bytes]]:
    reader, found, place = Reader(boundary), list[tuple[dict[str, str], bytearray]](), 0
    steps = [*sizes, len(message)]
    for size in steps:
        for event in reader.feed(message[place : place + size]):
            if isinstance(event, Begin):
                found.append((dict(event.headers), bytearray()))
            elif isinstance(event, Data):
                found[-1][1].extend(event.content)
            else:
                assert isinstance(event, End)
        place += size
    reader.close()
    return [(headers, bytes(content)) for headers, content in found]


@given(contents=some.lists(CONTENT, min_size=1, max_size=4), sizes=some.lists(some.integers(1, 9), max_size=60))
def test_what_is_written_is_read_however_it_comes(contents: list[bytes], sizes: list[int]) -> None:
    writer = Writer("application/dicom", "boundary")
    contents = [content for content in contents if b"\r\n--boundary" not in b"\r\n" + content] or [b"x"]
    message = b"".join(
        writer.begin("application/dicom", not number, f"place {number}") + content
        for number, content in enumerate(contents)
    )
    found = read(message + writer.end(), "boundary", sizes)
    assert [content for _, content in found] == contents
    assert [headers["content-location"] for headers, _ in found] == [f"place {n}" for n in range(len(contents))]


@given(junk=some.binary(max_size=300), sizes=some.lists(some.integers(1, 50), max_size=10))
def test_junk_is_malformed_and_nothing_else(junk: bytes, sizes: list[int]) -> None:
    with pytest.raises(Malformed):
        read(junk.replace(b"--b", b""), "b", sizes)


def test_forms_of_a_message_that_are_met() -> None:
    for message in (
        b"--b\r\n\r\nx\r\n--b--",
        b"\r\n--b\r\n\r\nx\r\n--b--\r\nafter",
        b"before\r\n--b  \r\nA: 1\r\n\r\nx\r\n--b--",
    ):
        for size in (1, 2, 3, 100):
            assert [content for _, content in read(message, "b", [size] * 60)] == [b"x"]


def test_memory_does_not_grow_with_a_part() -> None:
    reader = Reader("b")
    list(reader.feed(b"--b\r\n\r\n"))
    for _ in range(100):
        assert sum(len(event.content) for event in reader.feed(b"\r\n--" * 1000) if isinstance(event, Data)) > 3900
        assert len(reader._held) < 10
