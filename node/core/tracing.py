"""The settings of [tracing]: where the traces of studies are sent, if anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from node.core.errors import Misconfigured


@dataclass(frozen=True)
class Tracing:
    """endpoint: the URL of an OTLP/HTTP collector for traces; empty: nothing is traced."""

    endpoint: str

    def __post_init__(self) -> None:
        if self.endpoint and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", self.endpoint):
            raise Misconfigured('tracing.endpoint is a URL such as "http://collector:4318/v1/traces", or empty')
