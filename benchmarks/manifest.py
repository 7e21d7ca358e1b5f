"""A season into a ledger: rows per second against `pandas.read_csv` of the same file, and the memory it takes.

    python benchmarks/manifest.py [--captures 1000000]

Every image is a file that is looked at. Each step runs in a process of its own; its peak memory is the kernel's
figure for it (ru_maxrss).
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MANIFEST = """
import sys
from ctstate.verbs.manifest import manifest
from ctstate.ledger import Ledger
with Ledger.open(sys.argv[3], create=True) as ledger:
    report = manifest(ledger, sys.argv[1], attribution="a", license="l", images_root=sys.argv[2])
print(report.captures_new, report.captures_unchanged)
"""
FLOOR = "import sys, pandas; print(len(pandas.read_csv(sys.argv[1])))"
START = {"floor": "import pandas", "manifest": "import ctstate.verbs.manifest"}


def make(folder: Path, captures: int) -> tuple[Path, int]:
    """Write a captures CSV with 1 to 3 images a capture, and the files (hard links to a few)."""
    csv, rows = folder / "captures.csv", 0
    with csv.open("w") as file:
        file.write("season,site,roll,capture,image,path,timestamp,oldtime,sr,imname,invalid,timez,J\n")
        for number in range(captures):
            site, capture = f"S{number // 4000:03}", number % 4000 + 1
            roll = 1 + (capture > 2000)
            place = Path(f"SER_S1/{site}/{site}_R{roll}")
            if capture in (1, 2001):
                (folder / "images" / place).mkdir(parents=True, exist_ok=True)
            for rank in range(1, 1 + (1, 1, 3)[number % 3]):
                if rows % 50_000 == 0:  # a file has at most 65,000 names
                    source = folder / f"source{rows}"
                    source.write_bytes(b"x")
                name = f"SER_S1_{site}_R{roll}_IMAG{capture:04}_{rank}.JPG"
                os.link(source, folder / "images" / place / name)
                when = "2017:06:06 03:56:50"
                file.write(
                    f"SER_S1,{site},{roll},{capture},{rank},{place}/{name},{when},{when},{site}_R{roll},{name},0,,\n"
                )
                rows += 1
    return csv, rows


def timed(code: str, *arguments: str) -> tuple[float, float, str]:
    """Run Python code in a process; return wall seconds, peak memory in MB, and what it printed."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, status
    return time.perf_counter() - began, usage.ru_maxrss / 1024, output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captures", type=int, default=1_000_000)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-manifest-"))
    try:
        csv, rows = make(folder, arguments.captures)
        print(
            f"{arguments.captures:,} captures, {rows:,} rows, CSV of {csv.stat().st_size / 1e6:,.0f} MB", flush=True
        )
        idle = {name: timed(code)[0] for name, code in START.items()}
        floor, floor_mb, _ = timed(FLOOR, str(csv))
        floor -= idle["floor"]
        print(f"pandas.read_csv      {rows / floor:10,.0f} rows/s  {floor_mb:6,.0f} MB", flush=True)
        ledger = str(folder / "l.db")
        for name in ("manifest", "the same again"):
            took, memory, said = timed(MANIFEST, str(csv), str(folder / "images"), ledger)
            took -= idle["manifest"]
            print(
                f"{name:20} {rows / took:10,.0f} rows/s  {memory:6,.0f} MB  {took / floor:5.1f} times the floor "
                f"(new, as they were: {said})",
                flush=True,
            )
        print(f"ledger: {Path(ledger).stat().st_size / 1e6:,.0f} MB")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
