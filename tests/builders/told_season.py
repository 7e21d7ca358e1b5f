"""A season in which everything has happened that a report or a live page can show; nothing of it is on a sandbox.

Its sites have names that people and cameras do write: markup, signs beyond the usual, 200 characters.
"""

import json
import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, insert, update
from sqlalchemy.engine import Connection

from ctstate.ledger import Ledger
from ctstate.ledger.clock import now, shifted
from ctstate.ledger.schema import (
    backup,
    batch,
    capture,
    classification_poll,
    image,
    prediction,
    run,
    run_figure,
    season,
    verification,
)
from tests.builders.image_files import frame, save, secret_exif
from tests.builders.ledgers import count_on, make_empty

MARKUP = "<script>alert(1)</script>"
ODD = (MARKUP, "🦁 Löwe & Söhne", "L" * 200)
PLAIN = tuple(f"{letter}{number:02}" for letter in "BC" for number in range(1, 8))
FIRST = date(2026, 3, 1)
DAYS = 90
SPECIES = ("impala", "zebra", "wildebeest", "blank", "elephant", "human", "lion")


def make(folder: Path, place: str, *, per_day: int = 4, odd: bool = True) -> None:
    """Make the ledger and the images of its failures.

    Args:
        folder: gets `images/`.
        place: what names the ledger that is to be made.
        per_day: captures of a camera on a day, about.
        odd: with sites of odd names.
    """
    rng = random.Random(7)
    make_empty(place)
    with Ledger.open(place) as ledger, ledger.write() as connection:
        here = ledger.begin_run(connection, "manifest", {})
        connection.execute(
            insert(season).values(
                id=1, name="TOLD_S1", attribution="a", license="l", created_at=now(),
                images_root=str(folder / "images"), time_zone="Africa/Johannesburg",
            )
        )  # fmt: skip
        connection.execute(
            insert(batch),
            [
                {"id": 1, "season_id": 1, "name": "batch_1", "created_at": now(), "subject_set_id": 41},
                {"id": 2, "season_id": 1, "name": "batch_2", "created_at": now(), "subject_set_id": 42},
            ],
        )
        captures = _captures(rng, (*ODD, *PLAIN) if odd else PLAIN, here, per_day)
        connection.execute(insert(capture), captures)
        _images(connection, rng, captures, folder / "images")
        _predictions(connection, rng, captures)
        _move(connection, rng, captures, here)
        _looks(connection, here, len(captures))
        count_on(connection)


def _captures(rng: random.Random, sites: tuple[str, ...], here: int, per_day: int) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for site in sites:
        for number in range(DAYS):
            if (site == "B02" and 20 < number < 45) or (site == "C03" and number > 50):
                continue
            day = date(2000, 1, 1) if site == "C05" and number > 80 else FIRST + timedelta(number)
            for _ in range(rng.randint(0, 2 * per_day)):
                key = len(made) + 1
                name = f"TOLD_S1#{site[:60]}#1#{key}"
                made.append(
                    {
                        "id": key, "capture_id": name, "season_id": 1, "season": "TOLD_S1",
                        "site": site, "roll": "1", "capture": str(key), "capture_number": key,
                        "state": "manifested", "run_id": here, "moved_at": now(),
                        "excluded": "people" if rng.random() < 0.03 else None,
                        "taken_at": f"{day}T{rng.randrange(24):02}:{rng.randrange(60):02}:00",
                    }
                )  # fmt: skip
    return made


def _images(connection: Connection, rng: random.Random, captures: list[dict[str, Any]], root: Path) -> None:
    root.mkdir(parents=True)
    picture = frame(320, 240)
    rows = []
    for row in captures:
        path = f"IMAG{row['id']:05}.JPG"
        if row["id"] % 50 == 1:  # what fails is looked at
            save(root / path, picture, quality=90, exif=secret_exif())
            if row["id"] % 100 == 1:
                (root / path).write_bytes((root / path).read_bytes()[:2000])
        rows.append({"capture_id": row["id"], "rank": 1, "path": path, "bytes": 9000 + rng.randrange(2000)})
    connection.execute(insert(image), rows)


def _predictions(connection: Connection, rng: random.Random, captures: list[dict[str, Any]]) -> None:
    rows = [
        {
            "capture_id": row["id"], "source": "speciesnet", "metadata": "{}", "made_at": now(),
            "machine_species": rng.choices(SPECIES, (30, 18, 12, 40, 4, 2, 1))[0],
            "machine_species_confidence": min(1.0, rng.betavariate(5, 1.5)),
        }
        for row in captures
    ]  # fmt: skip
    connection.execute(insert(prediction), rows)


def _move(connection: Connection, rng: random.Random, captures: list[dict[str, Any]], here: int) -> None:
    """Upload most of it within ten hours; let one in fifty fail, in two ways."""
    going = [row["id"] for row in captures if row["excluded"] is None]
    split = len(going) // 2
    at = now()
    began = shifted(at, -11 * 3600)
    worker = connection.execute(
        insert(run).values(_run(here, "upload", began, at, "done", host="node17"))
    ).inserted_primary_key
    assert worker is not None
    ended = int(worker[0])
    connection.execute(insert(run).values(_run(here, "upload", shifted(at, -900), at, None, host="node18")))
    each = update(capture).where(capture.c.id == bindparam("key"))  # an old SQLite takes 999 of them in one list
    for name, keys in ((1, going[:split]), (2, going[split:])):
        batched = each.values(state="batched", batch_id=name, moved_at=began)
        connection.execute(batched, [{"key": key} for key in keys])
    up = going[: round(len(going) * 0.85)]
    claimed = each.values(state="uploading", claim=1, run_id=ended, moved_at=began)
    connection.execute(claimed, [{"key": key} for key in up])
    for number, key in enumerate(up):
        moved_at = shifted(began, 600 + 10 * 3600 * (number / len(up)) ** 0.9)
        if key % 50 in (1, 2, 3):
            broken = key % 50 == 1
            reason = f"IMAG{key:05}.JPG: not a usable image ({'cut short' if broken else 'there is no such file'})"
            values: dict[str, Any] = {"state": "failed", "reason": reason}
            values["reason_kind"] = "image_broken" if broken else "image_missing"
        else:
            values = {"state": "uploaded", "subject_id": 100000 + key}
            connection.execute(update(image).where(image.c.capture_id == key).values(arrived_at=moved_at))
        connection.execute(update(capture).where(capture.c.id == key).values(moved_at=moved_at, **values))
    figures = {"requests: POST /subjects": 4200, "requests: PUT image": 4100, "retries": 17, "bytes sent": 41e6,
               "seconds: network": 40_000, "seconds: lock": 12.5}  # fmt: skip
    connection.execute(
        insert(run_figure), [{"run_id": ended, "name": name, "value": value} for name, value in figures.items()]
    )


def _run(like: int, verb: str, began: str, seen: str, outcome: str | None, host: str) -> dict[str, Any]:
    return {
        "verb": verb, "arguments": "{}", "version": "0.2.0", "username": "u", "host": host, "host_id": f"{host} 1",
        "pid": 4000 + like, "pid_started": "1", "started_at": began, "heartbeat_at": seen,
        "ended_at": seen if outcome is not None else None, "outcome": outcome,
    }  # fmt: skip


def _looks(connection: Connection, here: int, captures: int) -> None:
    """What `verify`, `progress` and `backup` left."""
    at = now()

    def did(verb: str, ago: float) -> int:
        moment = shifted(at, -ago)
        key = connection.execute(
            insert(run).values(_run(here, verb, moment, moment, "done", host="desk"))
        ).inserted_primary_key
        assert key is not None
        return int(key[0])

    for ago, found in ((7200, {"images": 2}), (1800, {})):
        connection.execute(
            insert(verification).values(
                run_id=did("verify", ago), season_id=1, batch=None, project_id=1, began_at=shifted(at, -ago - 60),
                ended_at=shifted(at, -ago), part="5%", captures=captures, subjects=captures // 2, images_asked=200,
                findings=sum(found.values()), found=json.dumps(found),
            )
        )  # fmt: skip
    for days in range(8, 0, -1):
        key = did("progress", days * 86400)
        done = 9 - days
        connection.execute(
            insert(classification_poll).values(
                run_id=key, batch_id=1, workflow_id=9, workflow="What is it?", polled_at=shifted(at, -days * 86400),
                subjects=2000, classified=180 * done, classifications=1700 * done, retired=110 * done,
            )
        )  # fmt: skip
    key = did("backup", 5000)
    connection.execute(
        insert(backup).values(
            run_id=key, made_at=shifted(at, -5000), path="/data/TOLD_S1/ctstate.db.backup-0008", bytes=8_400_000,
            captures=captures, note="before the rain",
        )
    )  # fmt: skip
