"""What the audit trail tells: kinds of events, one event, and what it must not hold. Also ``[audit]`` of the settings.

An event names people by their account, systems by AE title and address, studies by UID. Never a patient: a message
that is sent to a collector looks the Patient ID up, the trail does not keep it.
"""

from __future__ import annotations

import getpass
import math
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from node.core.errors import Misconfigured

KINDS = {
    "start": "the node started; details: its version",
    "stop": "the node ended as it was asked to",
    "settings": "the effective settings differ from those of the run before; details: each with both values",
    "receipt": "an association (or a STOW-RS request) began to store instances of a study: one row for both",
    "refusal": "instances were refused: one row for each association and status",
    "analysis": "a study was analysed or refused",
    "delivery": "an object reached its destination, or was given up or refused there",
    "query": "a C-FIND or QIDO-RS query, or the page of studies; details: which keys, never their values",
    "retrieve": "a C-MOVE or C-GET",
    "view": "a study was seen by WADO-RS or on its page: one row a minute for each study and address",
    "api": "stored results or this trail were asked for; details: which filters, and values that identify nobody",
    "verdict": "a reader said what they think of an analysis",
    "login": "somebody logged in or could not; a password or token in a request was not valid",
    "logout": "somebody logged out",
    "account": "a user, a password, a role or a token was changed",
    "deletion": "files of a study were removed",
    "command": "an operator's command changed something",
}
OUTCOMES = {"success": "0", "minor": "4", "serious": "8", "major": "12"}  # EventOutcomeIndicator, PS3.15 A.5.1.1


@dataclass(frozen=True)
class AuditEvent:
    """kind: of KINDS; outcome: of OUTCOMES; actor: an account; aet, address: of the other side."""

    kind: str
    outcome: str = "success"
    actor: str = ""
    aet: str = ""
    address: str = ""
    study_uid: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.outcome not in OUTCOMES:
            raise AssertionError(f"the audit trail knows no {self.kind} with outcome {self.outcome}")


def account() -> str:
    """Of whoever runs a command on this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's number without a name
        return f"uid {os.getuid()}"


class Recent:
    """Things that were said lately, so that they need not be said again; the oldest of ``most`` is forgotten."""

    def __init__(self, most: int = 4096) -> None:
        self._most, self._seen, self._guard = most, OrderedDict[Hashable, float](), threading.Lock()

    def has(self, key: Hashable, since: float = 0.0) -> bool:
        with self._guard:
            return self._seen.get(key, -math.inf) >= since

    def add(self, key: Hashable, at: float = 0.0) -> None:
        with self._guard:
            self._seen[key] = at
            self._seen.move_to_end(key)
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)


@dataclass(frozen=True)
class Audit:
    """Where audit messages go. collector: udp://HOST:PORT or tls://HOST:PORT; empty: nowhere."""

    collector: str
    authorities: str
    certificate: str
    key: str
    source: str
    site: str
    patient_ids: bool


def collector_of(text: str) -> tuple[str, str, int]:
    """("udp" or "tls", host, port)"""
    found = re.fullmatch(r"(udp|tls)://(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})", text)
    if not found or not 0 < int(found[3]) < 65536:
        raise Misconfigured(f"audit.collector is udp://HOST:PORT, tls://HOST:PORT or empty, not {text!r}")
    return found[1], found[2].strip("[]"), int(found[3])


def check_audit(wanted: Audit) -> None:
    if wanted.collector:
        collector_of(wanted.collector)
    if bool(wanted.certificate) != bool(wanted.key):
        raise Misconfigured("audit.certificate and audit.key are given together or not at all")
