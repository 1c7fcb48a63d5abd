"""Where the spans of a process go: to the collector of the settings, or nowhere. Part of the composition root.

OpenTelemetry is imported only where a collector is configured; it is the extra ``lungnode[tracing]``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from node.core.errors import Misconfigured
from node.core.settings import Settings
from node.pipeline.traces import Span

MISSING = "tracing.endpoint is set and OpenTelemetry is not installed: install lungnode[tracing], or leave it empty"


class Tracer(Protocol):
    """Call it with spans; ``close`` sends what is left."""

    def __call__(self, spans: Iterable[Span], /) -> None: ...

    def close(self) -> None: ...


class Untraced:
    """Drops what it is given without looking at it."""

    def __call__(self, spans: Iterable[Span], /) -> None:
        pass

    def close(self) -> None:
        pass


def tracing(effective: Settings) -> Tracer:
    if not effective.tracing.endpoint:
        return Untraced()
    try:
        from node.composition.otlp import Traced
    except ImportError as error:
        raise Misconfigured(MISSING) from error
    return Traced(effective.tracing.endpoint, effective.node.aet)
