"""Damaged files for every parser, for some minutes: `python -m tests.fuzz --minutes 2 --seed 1`.

A seed is a run. What raises anything but CtstateError is kept in a file; `--again FILE TARGET` gives it again.
"""

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.mutator import mutated
from tests.fuzz.targets import ground, only, tell

MOST_FOUND = 40
"""So many are enough for a day."""

SLOWEST_S = 10.0
"""No file so small may take longer."""


def main() -> int:
    """Fuzz; return 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--only", default="", help="only targets with these words in their name")
    parser.add_argument("--again", nargs=2, metavar=("FILE", "TARGET"))
    given = parser.parse_args()
    with ground() as fuzzed:
        if given.again:
            print(tell(fuzzed.targets[given.again[1]][0], Path(given.again[0]).read_bytes()))
            return 0
        seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**9)
        print(f"seed {seed}", flush=True)
        chance = random.Random(seed)
        names = only(fuzzed.targets, given.only)
        until, files, refused, found = time.monotonic() + given.minutes * 60, Counter[str](), 0, 0
        while time.monotonic() < until:
            for name in names:
                target, seeds = fuzzed.targets[name]
                data = mutated(chance.choice(seeds), chance)
                files[name] += 1
                began = time.monotonic()
                try:
                    refused += tell(target, data) is not None
                    assert time.monotonic() - began < SLOWEST_S, "it took too long"
                except Exception:  # noqa: BLE001 - that is what is looked for
                    found += 1
                    kept = Path(f"fuzz-{seed}-{sum(files.values())}.bin")
                    kept.write_bytes(data)
                    print(f"{name}, {kept}:\n{traceback.format_exc()}", flush=True)
                    if found >= MOST_FOUND:
                        until = 0.0
        total = sum(files.values())
        print(f"{len(names)} parsers, {total:,} files, {refused:,} refused; {total - found} passed, {found} failed")
        return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
