"""``python -m tests.faults.soak``: 10,000 small studies through receivers and workers to Orthanc while their processes
and their database are killed at random; zero lost, zero doubled, memory that does not grow.

    python -m tests.faults.soak [--studies N] [--minutes N] [--kills N] [--seed N] [--first N] [--sqlite] [--write]

Says how far it is. After so many minutes nothing more is sent, and what was sent by then is judged; ``--first`` goes on
with the study of that number, on nodes of their own. Markdown in the end; ``--write`` puts it into docs/benchmarks.md
too. The same seed plans the same kills, by how many studies were sent before each.

Not covered: a power cut, which takes what the kernel has not written yet (tests/faults/test_disks.py); networks.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from node.archive import ARCHIVE_ID
from tests.bench.page import load, machine, write_section
from tests.faults import promises
from tests.faults.modality import Modality
from tests.faults.struck import DATABASES, Struck
from tests.films import CR, MARKER, Film, drawn, encoded, uid, wrap
from tests.peers import Absent, wait_until
from tests.sending import Encoded

STUDIES, STUDIES_A_KILL = 10_000, 40
SAID = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
PICTURE = drawn(1, 64)
AHEAD = 12  # studies that may be unanswered before the next one is sent
WARM, GROWTH = 0.1, 1.05  # memory after so much of the run, and how many times as much it may be at the end
STEPS = (WARM, 0.25, 0.5, 0.75)
SAY_SECONDS = 15.0
SETTLE_SECONDS = 600.0


@dataclass(frozen=True)
class Order:
    """What is asked for. kinds: what is struck; none named: everything that may be. witnesses: whether there are nodes
    that are never struck."""

    database: str = "postgresql"
    first: int = 0
    studies: int = STUDIES
    kills: int = STUDIES // STUDIES_A_KILL
    seed: int = 20261121
    longest_seconds: float = math.inf
    kinds: tuple[str, ...] = ()
    witnesses: bool = True


def planned(order: Order, kinds: Sequence[str], chance: random.Random) -> list[tuple[int, str]]:
    """The kills: after how many studies, and what. Every kind once, where there are enough; then at random."""
    wanted = [*kinds, *(chance.choice(kinds) for _ in range(order.kills))][: order.kills]
    chance.shuffle(wanted)
    moments = sorted(chance.randrange(1, max(2, int(0.95 * order.studies))) for _ in wanted)
    return list(zip(moments, wanted, strict=True))


@dataclass
class Soak:
    """One run. kills: those to come; memory: by the share of the run, then by witness; cleared: files without a row
    that the start in the end took away."""

    order: Order
    struck: Struck
    modality: Modality
    kills: list[tuple[int, str]]
    names: list[str] = field(default_factory=list)
    hit: Counter[str] = field(default_factory=Counter)
    memory: dict[float, dict[str, tuple[int, int]]] = field(default_factory=dict)
    seconds: float = 0.0
    cleared: int = 0

    def send(self) -> None:
        """All studies, or as many as the time allows, with the kills between them."""
        began, said, steps = time.monotonic(), -math.inf, list(STEPS)
        for number in range(self.order.studies):
            while len(self.names) - len(self.modality.acknowledged) >= AHEAD:
                time.sleep(0.02)
            if time.monotonic() > began + self.order.longest_seconds:
                break
            name = f"soak {self.order.first + number}"
            self.names.append(name)
            self.modality.send([(_film(name),)])
            self._strike(number)
            if steps and number + 1 >= steps[0] * self.order.studies:
                self.memory[steps.pop(0)] = self.struck.memory()
            if time.monotonic() >= said + SAY_SECONDS:
                said = time.monotonic()
                self._say(said - began)
        self.seconds = time.monotonic() - began

    def _strike(self, number: int) -> None:
        while self.kills and self.kills[0][0] <= number:
            _, kind = self.kills.pop(0)
            self.struck.strikes[kind]()
            self.hit[kind] += 1

    def rest(self) -> None:
        """Until all that was sent is analysed and delivered."""
        began = time.monotonic()
        self.modality.wait(SETTLE_SECONDS)
        wait_until(self._is_settled, SETTLE_SECONDS, "everything is analysed and delivered", every=0.5)
        self.seconds += time.monotonic() - began
        self.memory[1.0] = self.struck.memory()
        self._say(self.seconds)

    def _is_settled(self) -> bool:
        rows = self.struck.any.rows("SELECT state, count(*) AS number FROM studies GROUP BY state")
        states = {row["state"]: row["number"] for row in rows}
        if states.keys() - {"analysed", "failed", "stored"} or sum(states.values()) < len(self.names):
            return False
        return not self.struck.any.rows("SELECT 1 FROM jobs WHERE state IN ('ready', 'running') LIMIT 1")

    def _say(self, seconds: float) -> None:
        used = sum(own for _, own in self.struck.memory().values()) / 2**20
        sys.stderr.write(
            f"{seconds:5.0f} s: {len(self.names)} studies sent, {len(self.modality.acknowledged)} acknowledged,"
            f" {self.hit.total()} kills, witnesses {used:.0f} MiB, load {load():.1f}\n"
        )


def _film(name: str) -> Encoded:
    """A small film of a patient of its own."""
    patient = replace(MARKER, patient_id=f"{MARKER.patient_id} {name}")
    return encoded(wrap(Film(PICTURE, name, sop_class=CR, identity=patient)))


def analysed_once(soak: Soak) -> None:
    """Each study that was sent, and no other, has one analysis, which stands."""
    rows = soak.struck.any.rows(
        "SELECT study_uid, state, count(analyses.id) AS made FROM studies"
        " LEFT JOIN analyses ON analyses.study_id = studies.id GROUP BY study_uid, state"
    )
    found = {row["study_uid"]: (row["state"], row["made"]) for row in rows}
    wanted = {uid("study", name) for name in soak.names}
    assert found.keys() == wanted, f"{len(wanted - found.keys())} lost, {len(found.keys() - wanted)} never sent"
    wrong = Counter(one for one in found.values() if one != ("analysed", 1))
    assert not wrong, f"states and numbers of analyses that should not be: {dict(wrong)}"


def kept(soak: Soak) -> None:
    assert len(soak.modality.acknowledged) == len(soak.names)
    promises.kept(soak.struck.any, soak.modality.acknowledged)


def delivered_once(soak: Soak) -> None:
    """Orthanc holds each result, under one UID each, and nothing else."""
    states = {row["state"] for row in soak.struck.any.rows("SELECT DISTINCT state FROM deliveries")}
    assert states <= {"delivered"}, f"deliveries that are {states}"
    owed = "SELECT DISTINCT sop_uid FROM outputs JOIN deliveries ON deliveries.output_id = outputs.id"
    made = [row["sop_uid"] for row in soak.struck.any.rows(owed)]
    held = [one["MainDicomTags"]["SOPInstanceUID"] for one in soak.struck.orthanc.get("/instances?expand")]
    assert len(made) >= len(soak.names), "a study without a result"
    twice = len(held) - len(set(held))
    lost, others = set(made) - set(held), set(held) - set(made)
    assert not lost and not others and not twice, f"{len(lost)} lost, {len(others)} of nobody, {twice} twice"


def nothing_stuck(soak: Soak) -> None:
    states = {row["state"] for row in soak.struck.any.rows("SELECT DISTINCT state FROM jobs")}
    assert states <= {"done"}, f"jobs that are {states}"
    stuck = [line for line in soak.struck.any.status().splitlines() if line.startswith("stuck:")]
    assert not stuck, stuck


def chained(soak: Soak) -> None:
    ran = soak.struck.any.command("audit", "verify", "--data", soak.struck.any.data)
    assert ran.code == 0, ran.text


def nobody_died_by_itself(soak: Soak) -> None:
    """Children ended by our signal alone, and none of the witnesses was silent."""
    ends = Counter(
        (event["event"], event["exit_code"])
        for node in soak.struck.nodes.values()
        for kind in ("worker.died", "receiver.died")
        for event in node.events(kind)
        if event["exit_code"] != -signal.SIGKILL
    )
    assert not ends, dict(ends)
    struck = sum(number for kind, number in soak.hit.items() if kind.endswith("process"))
    died = sum(
        len(node.events(f"{kind}.died")) for node in soak.struck.nodes.values() for kind in ("worker", "receiver")
    )
    assert died <= struck, f"{died} children died, {struck} were struck"


def memory_stays(soak: Soak) -> None:
    if WARM not in soak.memory:
        return
    before, after = soak.memory[WARM], soak.memory[1.0]
    assert {name: pid for name, (pid, _) in before.items()} == {name: pid for name, (pid, _) in after.items()}
    grown = {name: after[name][1] / own for name, (_, own) in before.items()}
    too_much = [f"{name} grew to {times:.3f} times" for name, times in grown.items() if times >= GROWTH]
    assert not too_much, "; ".join(too_much)


def no_stray_file(soak: Soak) -> None:
    """Once all have drained, and one has started, there are the files that rows know, and nothing else."""
    nodes = soak.struck.nodes
    codes = {name: node.sigterm(120) for name, node in nodes.items()}
    assert set(codes.values()) == {0}, codes
    running = soak.struck.any
    before = len(running.events("archive.cleared"))
    running.start()
    soak.cleared = sum(event["files"] for event in running.events("archive.cleared")[before:])
    left = {path for path in promises.orphans(running) if path.name != ARCHIVE_ID}
    assert not left, f"{len(left)} files that no row knows"


PROMISES = (
    analysed_once, kept, delivered_once, nothing_stuck, chained, nobody_died_by_itself, memory_stays, no_stray_file
)  # fmt: skip


def broken(soak: Soak, which: Sequence[Callable[[Soak], None]]) -> dict[str, str]:
    """What does not hold, by promise; ``no_stray_file`` ends the nodes, so it is the last."""
    found = {}
    for promise in which:
        try:
            promise(soak)
        except AssertionError as error:
            found[promise.__name__] = str(error)
    return found


def soaked(order: Order) -> tuple[Soak, dict[str, str]]:
    """A run, and what of the promises it broke."""
    chance = random.Random(order.seed)
    with DATABASES[order.database](chance, order.witnesses) as struck, Modality(struck.port) as modality:
        kills = planned(order, order.kinds or sorted(struck.strikes), chance)
        soak = Soak(order, struck, modality, kills)
        soak.send()
        soak.rest()
        return soak, broken(soak, PROMISES)


def table(soak: Soak, found: dict[str, str]) -> str:
    """Markdown."""
    order, sent = soak.order, len(soak.names)
    hit = ", ".join(f"{number} {kind}" for kind, number in sorted(soak.hit.items()))
    lines = [
        f"{sent:,} studies of one film of 64 x 64 (numbers {order.first} to {order.first + sent - 1}), "
        f"{SAID[order.database]}, models of no cost, Orthanc behind them; "
        f"{soak.hit.total()} kills ({hit}), seed {order.seed}; "
        f"{soak.seconds / 60:.1f} minutes, {60 * sent / soak.seconds:.0f} studies a minute. "
        f"{soak.modality.unanswered} associations broke or found nobody, {soak.modality.refused.total()} objects were "
        f"answered that they come later; every study was sent until it was taken. "
        f"{soak.cleared} files without a row were cleared away by the start in the end.",
        "",
        "| promise | held |",
        "|---|---|",
    ]
    lines += [f"| {one.__name__.replace('_', ' ')} | {found.get(one.__name__, 'yes')} |" for one in PROMISES]
    shares = sorted(soak.memory)
    lines += [
        "",
        f"Memory (USS, MiB) of processes that were never struck; wanted: less than {GROWTH:g} times as much at the end "
        f"as after {100 * WARM:.0f} % of the studies.",
        "",
        f"| process | {' | '.join(f'{100 * share:.0f} %' for share in shares)} | grown |",
        f"|---|{'---|' * len(shares)}---|",
    ]
    for name, (_, last) in sorted(soak.memory[1.0].items()):
        row = [soak.memory[share].get(name, (0, 0))[1] for share in shares]
        shown = " | ".join(f"{own / 2**20:.1f}" for own in row)
        lines.append(f"| {name} | {shown} | {last / row[0]:.3f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--studies", type=int, default=STUDIES, help=f"how many ({STUDIES})")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which nothing more is sent")
    parser.add_argument("--kills", type=int, help=f"how many (one in {STUDIES_A_KILL} studies)")
    parser.add_argument("--seed", type=int, default=Order.seed, help="of the kills")
    parser.add_argument("--first", type=int, default=0, help="number of the first study (0)")
    parser.add_argument("--sqlite", action="store_true", help="one node that does everything, on SQLite")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md too")
    given = parser.parse_args()
    database = "sqlite" if given.sqlite else "postgresql"
    kills = given.studies // STUDIES_A_KILL if given.kills is None else given.kills
    order, where = Order(database, given.first, given.studies, kills, given.seed, 60 * given.minutes), machine()
    try:
        soak, found = soaked(order)
    except Absent as absent:
        sys.stderr.write(f"{absent}\n")
        return 1
    section = f"{where}\n\n{table(soak, found)}"
    sys.stdout.write(f"{section}\n")
    if given.write:
        write_section(f"Soak on {SAID[database]}", section)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
