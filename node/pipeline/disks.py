"""Room on the file systems of archive and database, each with two marks: below the first it is said, below the second
nothing more is taken. One file system that holds both is one disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Disk:
    """holds: "archive", "database", or both. warning_bytes, refusal_bytes: the marks of free room."""

    holds: str
    free_bytes: int
    total_bytes: int
    warning_bytes: int
    refusal_bytes: int
    is_cache: bool = False  # of a bucket

    @property
    def _larger(self) -> str:
        """The setting that keeps more room free."""
        return "a smaller archive.cache_bytes" if self.is_cache else "retention.high_watermark_percent"

    @property
    def has_room(self) -> bool:
        return self.free_bytes >= self.refusal_bytes

    @property
    def used_percent(self) -> float:
        return 100 * (1 - self.free_bytes / self.total_bytes) if self.total_bytes else 0.0

    @property
    def sentence(self) -> str:
        """What is wrong and which setting or deed mends it; empty where nothing is."""
        if not self.has_room:
            return (
                f"The disk of the {self.holds} has {size(self.free_bytes)} left of the {size(self.refusal_bytes)} that "
                "are kept free (receive.min_free_bytes); instances are refused with 0xA700. Make room, have "
                f"{self._larger} make it, or go on from a copy on a larger disk."
            )
        if self.free_bytes < self.warning_bytes:
            return (
                f"The disk of the {self.holds} has {size(self.free_bytes)} left; below {size(self.refusal_bytes)} "
                f"(receive.min_free_bytes) nothing is taken. Enlarge it, or set {self._larger}."
            )
        return ""


def disks(
    archive: Path, database: Path | None, refusal_bytes: int, warn_factor: float, cached: bool = False
) -> tuple[Disk, ...]:
    """That of the archive first. database: the SQLite file; None where there is none. cached: the archive is in a
    bucket."""
    places = {"archive": archive}
    if database is not None and database.exists():
        if database.stat().st_dev == archive.stat().st_dev:
            places = {"archive and the database": archive}
        else:
            places["database"] = database
    marks = (int(refusal_bytes * max(1.0, warn_factor)), refusal_bytes)
    return tuple(Disk(holds, *_room(path), *marks, cached and path == archive) for holds, path in places.items())


def size(number: int) -> str:
    """For people."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**28 else f"{number / 2**20:.0f} MiB"


def _room(path: Path) -> tuple[int, int]:
    """(free for us, total)."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize
