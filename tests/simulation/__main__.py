"""Run the simulator: `python -m tests.simulation`.

    --minutes 2                 so long (the default), with a random seed that is printed
    --kills 100000              until so many workers were killed while they held claims, in deadly seasons
    --deadly                    seasons in which workers die again and again
    --seed 1 --seasons 500      these seasons, which are the same each time
    --processes 2               side by side
    --postgres                  with the ledger on PostgreSQL, a server of the simulator's own
    --replay 4711               one season, with all its steps in words
    --defects                   each deliberate defect of `defects` must be found; prints the table

A violation prints the season's seed and the steps that led to it, in words, after as many accidents were taken away
as can be without it going away.
"""

import argparse
import multiprocessing
import os
import queue
import random
import sys
import time
from collections.abc import Iterator

from tests.builders.ledgers import ON_POSTGRES
from tests.builders.postgres import on_postgres_or_not_at_all
from tests.simulation.defects import DEFECTS, find
from tests.simulation.season import Season, Totals
from tests.simulation.shrink import shrink
from tests.simulation.sim_ledger import new_database


def play_many(
    first: int, step: int, until: float, most: int, enough_kills: int, deadly: bool
) -> Iterator[tuple[Totals, list[str], int]]:
    """Play seasons one after the other; yield each one's totals, what did not hold, and its seed."""
    database = new_database()
    kills, seed = 0, first
    while time.monotonic() < until and most > 0 and kills < enough_kills:
        season = Season(seed, database=database, tracing=False, deadly=deadly)
        try:
            found = season.play()
        except BaseException as error:
            error.add_note(f"in season {seed}")
            raise
        kills += season.totals.kills_with_claims
        yield season.totals, found, seed
        most -= 1
        seed += step


def _work(arguments: tuple[int, int, float, int, int, bool], results: "multiprocessing.Queue[object]") -> None:
    totals = Totals()
    told = time.monotonic()
    try:
        for one, found, seed in play_many(*arguments):
            totals.add(one)
            if found:
                results.put((seed, found))
            if time.monotonic() - told > 10:
                told = time.monotonic()
                results.put(totals)
                totals = Totals()
    finally:
        results.put(totals)
        results.put(None)


def run(
    first: int, minutes: float, seasons: int, kills: int, processes: int, deadly: bool
) -> tuple[Totals, list[int]]:
    """Play seasons in several processes; return what happened and the seeds of those that broke.

    Raises:
        SystemExit: a process ended before its time: the simulator itself broke.
    """
    results: multiprocessing.Queue[object] = multiprocessing.get_context("fork").Queue()
    until = time.monotonic() + minutes * 60
    workers = []
    for number in range(processes):
        share = (seasons + processes - 1 - number) // processes
        arguments = (first + number, processes, until, share, -(-kills // processes), deadly)
        worker = multiprocessing.get_context("fork").Process(target=_work, args=(arguments, results))
        worker.start()
        workers.append(worker)
    totals, broken, left, told = Totals(), [], processes, time.monotonic()
    while left:
        try:
            result = results.get(timeout=5.0)
        except queue.Empty:
            if any(worker.exitcode for worker in workers):  # killed, and it said nothing
                break
            continue
        if result is None:
            left -= 1
        elif isinstance(result, Totals):
            totals.add(result)
            if time.monotonic() - told > 60:
                told = time.monotonic()
                print(f"  so far: {in_words(totals)}", flush=True)
        else:
            seed, found = result  # type: ignore[misc]
            broken.append(seed)
            print(f"season {seed} broke: {found[0]}", flush=True)
    for worker in workers:
        if left:
            worker.terminate()
        worker.join()
    ends = [worker.exitcode for worker in workers]
    if left or any(ends):
        sys.exit(f"the simulator itself broke: its processes ended with {ends}; what they said is above")
    return totals, broken


def in_words(totals: Totals) -> str:
    """What happened, as one line."""
    counts = {name.replace("_", " "): count for name, count in vars(totals).items() if isinstance(count, int)}
    return ", ".join(
        f"{count:,} {name}" for name, count in [*counts.items(), *sorted(totals.to_the_database.items())]
    )


def matrix(totals: Totals) -> str:
    """Steps by accidents, as a table; a cell says how often an accident met a step."""
    steps = sorted({step for step, _ in totals.matrix}, key=lambda step: (":" in step, step))
    kinds = sorted({kind for _, kind in totals.matrix})
    width = max(map(len, steps), default=0)
    lines = [" " * width + "  " + " ".join(f"{number:>6}" for number in range(1, len(kinds) + 1))]
    lines += [
        f"{step:<{width}}  " + " ".join(f"{totals.matrix[step, kind] or '':>6}" for kind in kinds) for step in steps
    ]
    return "\n".join([*lines, *(f"{number:>3} {kind}" for number, kind in enumerate(kinds, start=1))])


def replay(seed: int, deadly: bool) -> int:
    """Play one season and print all its steps."""
    season = Season(seed, deadly=deadly)
    found = season.play()
    print(season.world)
    print(season.kernel.trace)
    print("\n".join(found) or "all held")
    return 1 if found else 0


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seasons", type=int, default=10**9)
    parser.add_argument("--kills", type=int, default=10**12)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--processes", type=int, default=max(1, len(os.sched_getaffinity(0))))
    parser.add_argument("--replay", type=int)
    parser.add_argument("--deadly", action="store_true")
    parser.add_argument("--defects", action="store_true")
    parser.add_argument("--matrix", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    if ON_POSTGRES:
        on_postgres_or_not_at_all()
        new_database().close()  # which starts the server that all processes share
    if given.replay is not None:
        return replay(given.replay, given.deadly)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**9)
    if given.defects:
        return _find_defects(seed, given.processes)
    deadly = given.deadly or given.kills < 10**12
    bounded = given.seasons < 10**9 or given.kills < 10**12
    minutes = given.minutes if given.minutes is not None else (10**6 if bounded else 2.0)
    print(f"seed {seed}", flush=True)
    began = time.monotonic()
    totals, broken = run(seed, minutes, given.seasons, given.kills, given.processes, deadly)
    took = (time.monotonic() - began) / 60
    print(f"{in_words(totals)}; {totals.seasons / took:,.0f} seasons a minute in {given.processes} processes")
    if given.matrix:
        print(matrix(totals))
    for number in broken[:3]:
        print(f"\nseason {number}, made smaller:\n{shrink(number, deadly)}")
        how = f"{' --deadly' if deadly else ''}{' --postgres' if ON_POSTGRES else ''}"
        print(f"again: python -m tests.simulation --replay {number}{how}")
    # Said in a form that tools read.
    print(f"{totals.seasons - len(broken)} passed, {len(broken)} failed")
    return 1 if broken else 0


def _find_defects(seed: int, processes: int) -> int:
    print(f"seed {seed}; each defect is looked for with three seeds", flush=True)
    missed = 0
    began = time.monotonic()
    work = [(name, seed + 1_000_000 * n) for name in DEFECTS for n in (1, 2, 3)]
    found: dict[str, list[int | None]] = {name: [] for name in DEFECTS}
    with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=6) as pool:
        for name, seasons in pool.imap(find, work):
            found[name].append(seasons)
            if len(found[name]) == 3:
                shown = ", ".join("not found" if n is None else str(n) for n in found[name])
                print(f"  {name:<62} seasons until found: {shown}", flush=True)
                missed += sum(n is None for n in found[name])
    print(f"{len(work) - missed} passed, {missed} failed in {(time.monotonic() - began) / 60:.1f} minutes")
    return 1 if missed else 0


if __name__ == "__main__":
    # The order of a set of texts is chance, too.
    wanted = {"PYTHONHASHSEED": "0", **({"CTSTATE_TEST_LEDGER": "postgres"} if "--postgres" in sys.argv else {})}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **wanted})
    sys.exit(main())
