"""Floor of `ctstate predict` with MegaDetector's file: a window of the file, a staged table, one join, one INSERT.

python benchmarks/floors/predict_images.py LEDGER MD.json
"""

import json
import sys
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from common import RUN, clocked, open_ledger

as_json = json.JSONEncoder(ensure_ascii=False).encode
WINDOW = 1 << 18
KEYS = tuple(f"#machine_megadetector_{name}" for name in ("animal", "person", "vehicle"))


def images(file: str) -> Iterator[tuple[str, float, float, float]]:
    """Yield path and best scores of each image of a file larger than memory."""
    decode = json.JSONDecoder().raw_decode
    with open(file) as stream:
        buffer = stream.read(WINDOW)
        at = buffer.index('"images": [') + len('"images": [')
        while True:
            try:
                place = at
                while buffer[place] in " \n,":
                    place += 1
                if buffer[place] == "]":
                    return
                image, at = decode(buffer, place)
            except (json.JSONDecodeError, IndexError):
                buffer, at = buffer[at:] + stream.read(WINDOW), 0
                continue
            best = {"1": 0.0, "2": 0.0, "3": 0.0}
            for found in image["detections"]:
                best[found["category"]] = max(best[found["category"]], found["conf"])
            yield (image["file"], *best.values())


def predict(ledger: str, file: str) -> int:
    connection = open_ledger(ledger)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TEMP TABLE entry (path TEXT PRIMARY KEY, animal, person, vehicle) WITHOUT ROWID")
    connection.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)", images(file))
    run = connection.execute(RUN, ("predict",)).lastrowid
    file_id = connection.execute(
        "INSERT INTO prediction_file (source, format, path, settings, run_id, made_at)"
        " VALUES ('megadetector', 'megadetector', ?, '{}', ?, 't')",
        (file, run),
    ).lastrowid
    matches = connection.execute(
        "SELECT i.capture_id, e.animal, e.person, e.vehicle FROM image i CROSS JOIN entry e ON e.path = i.path"
        " ORDER BY i.capture_id"
    )

    def made() -> Iterator[tuple[object, ...]]:
        for key, group in groupby(matches, itemgetter(0)):
            scores = [max(column) for column in list(zip(*group, strict=True))[1:]]
            metadata = dict(zip(KEYS, scores, strict=True))
            yield key, as_json(metadata), run, file_id, *scores, 1 - max(scores)

    connection.executemany(
        "INSERT INTO prediction (capture_id, source, metadata, run_id, made_at, file_id, machine_animal,"
        " machine_person, machine_vehicle, machine_blank) VALUES (?, 'megadetector', ?, ?, 't', ?, ?, ?, ?, ?)",
        made(),
    )
    count = connection.execute(
        "UPDATE capture SET state = 'predicted', run_id = ?, moved_at = 't2'"
        " WHERE id IN (SELECT capture_id FROM prediction) AND state = 'manifested'",
        (run,),
    ).rowcount
    connection.execute("COMMIT")
    connection.close()
    return count


clocked(predict, *sys.argv[1:])
