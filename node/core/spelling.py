"""How peers, and what we call ourselves, may be written in the settings. Everything else is ``Misconfigured``.

A peer is known by its text alone: in the ledger, in its table of wishes, in the list of those spoken to over TLS. Two
texts for one peer would send it everything twice, or without what its table asks for. What names our equipment goes
into every object, so a text that is no DICOM value would leave every study without a result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from node.core.errors import Misconfigured

LONG_STRING = re.compile(r"(?! *$)[^\\\x00-\x1f\x7f-\x9f]{1,64}")  # LO, PS3.5 Table 6.2-1, and not empty


def check_peers(written: Iterable[tuple[str, str]]) -> None:
    """written: (the text in the settings, the text that is made of what was understood)."""
    known: dict[str, str] = {}
    for text, name in written:
        if text != name:
            raise Misconfigured(f"the peer {text!r} is to be written {name!r} everywhere")
        aet, _, address = name.partition("@")
        if (other := known.setdefault(f"{aet}@{address.casefold()}", name)) != name:  # DNS knows no case, RFC 4343
            raise Misconfigured(f"{other!r} and {name!r} are one peer; it is to be written in one way")


def check_equipment(texts: Mapping[str, str]) -> None:
    """texts: by the names of their settings."""
    for name, text in texts.items():
        if not LONG_STRING.fullmatch(text):
            raise Misconfigured(f"{name} has 1 to 64 printable characters and no backslash, not {text!r}")
