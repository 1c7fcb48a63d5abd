"""``python -m tests.bench``: ingest beside Orthanc and DCMTK storescp, then the whole path beside the bare models.

    python -m tests.bench [--quick] [--rounds N] [--write] [ingest] [path] [million] [scale] [lanes] [backlog]

Prints Markdown, progress on standard error; ``--write`` puts each section into ``docs/benchmarks.md`` once it is
measured. ``--quick`` takes under a minute and shows that everything runs; its figures mean nothing, as those of a
machine that does other work at the same time mean little.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from tests.bench import backlog, comparison, ingest, lanes, main_path, million, scale
from tests.bench.page import load, machine, write_section
from tests.peers import Absent


def measured_ingest(given: argparse.Namespace) -> str:
    plan = ingest.QUICK if given.quick else ingest.Plan(rounds=given.rounds)
    rates = ingest.measure(plan)
    return (
        f"{comparison.speeds(rates)}\n\n"
        f"Median of {plan.rounds} rounds (least..most).\n\n"
        f"{comparison.ratios(rates)}\n\n{comparison.verdict(rates)}"
    )


def measured_path(given: argparse.Namespace) -> str:
    return main_path.table(main_path.measure(2 if given.quick else 10))


PARTS: dict[str, tuple[str, Callable[[argparse.Namespace], str]]] = {
    "ingest": ("Ingest", measured_ingest),
    "path": ("From the last C-STORE response to the last delivered result", measured_path),
    "lanes": ("Lanes before a device that judges a batch at once", lambda given: lanes.measured(given.quick)),
    "scale": ("More workers", lambda given: scale.measured(given.quick)),
    "backlog": ("A backlog", lambda given: backlog.measured(200 if given.quick else backlog.JOBS)),
    "million": ("A million instances", lambda given: million.measured(given.quick)),
}
DEFAULT = ("ingest", "path")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: ingest and path")
    parser.add_argument("--quick", action="store_true", help="small and once")
    parser.add_argument("--rounds", type=int, default=3, help="of ingest; default 3")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md too")
    given = parser.parse_args()
    try:
        for heading, part in (PARTS[name] for name in given.parts or DEFAULT):
            where, began = machine(), time.monotonic()
            body = part(given)
            took = f"The run took {(time.monotonic() - began) / 60:.1f} minutes; load after it {load():.2f}."
            section = f"{where} {took}\n\n{body}"
            sys.stdout.write(f"## {heading}\n\n{section}\n\n")
            if given.write:
                write_section(heading, section)
    except Absent as absent:
        sys.stderr.write(f"{absent}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
