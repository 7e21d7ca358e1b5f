"""What the floors share: the ledger opened as ctstate opens it, and the clock around the work."""

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUN = (
    "INSERT INTO run (verb, arguments, version, username, host, host_id, pid, pid_started, started_at,"
    " heartbeat_at) VALUES (?, '{}', '', '', '', '', 1, '', 't', 't')"
)


def open_ledger(path: str) -> sqlite3.Connection:
    """Open a ledger with the PRAGMAs of `ctstate/ledger/sqlite.py`; its triggers and indexes are in the file."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    for pragma in ("foreign_keys = ON", "cache_size = -32768", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def clocked(work: Callable[..., Any], *arguments: str) -> None:
    """Call the work and print what it cost, imports apart: CPU and wall seconds, and the process's peak memory."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    cost = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    # Not ru_maxrss, in which the parent's memory counts.
    print(json.dumps({**cost, "mb": int(status["VmHWM"].split()[0]) / 1024}))
