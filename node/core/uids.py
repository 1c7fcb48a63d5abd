"""UIDs of our own objects: derived, never random, so that a rerun or a resend can make no duplicate.

``2.25.<UUIDv5 as integer>`` (PS3.5 annex B.2), at most 44 characters. Anything that changes the bytes of an object
must be among the parts: a PACS keeps the first bytes it saw under a UID.
"""

from __future__ import annotations

from uuid import UUID, uuid5

NAMESPACE = UUID("7d1f2c60-5f0e-4a3b-9a57-3a1a6c4bb0d1")  # of this product, for ever
PRODUCT_UID = f"2.25.{uuid5(NAMESPACE, 'lungnode').int}"  # Instance Creator UID (0008,0014) of all we write


def derive(kind: str, *parts: str) -> str:
    """A UID for ``kind`` made of ``parts``; the same parts give the same UID."""
    return f"2.25.{uuid5(NAMESPACE, chr(31).join((kind, *parts))).int}"
