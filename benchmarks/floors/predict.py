"""Floor of `ctstate predict` with the old scripts' files: a window of the file, one INSERT a capture.

python benchmarks/floors/predict.py LEDGER EMPTY.json SPECIES.json
"""

import json
import sys
from collections.abc import Iterator

from common import RUN, clocked, open_ledger

as_json = json.JSONEncoder(ensure_ascii=False).encode
WINDOW = 1 << 18
KEY = "INSERT INTO prediction (capture_id, source, metadata, run_id, made_at, file_id,"
COLUMNS = "(SELECT id FROM capture WHERE capture_id = ?), ?, ?, ?, 't', ?"


def entries(file: str) -> Iterator[tuple[str, dict]]:
    """Yield the pairs of a JSON object larger than memory."""
    decode = json.JSONDecoder().raw_decode
    with open(file) as stream:
        buffer, at = stream.read(WINDOW), 1
        while True:
            try:
                place = at
                while buffer[place] in " \n,":
                    place += 1
                if buffer[place] == "}":
                    return
                key, place = decode(buffer, place)
                value, at = decode(buffer, place + 2)
                yield key, value
            except (json.JSONDecodeError, IndexError):
                buffer, at = buffer[at:] + stream.read(WINDOW), 0


def of_empty(entry: dict) -> tuple[dict, tuple[object, ...]]:
    scores = entry["aggregated_pred"]["empty"]
    return {f"#machine_confidence_{label}": score for label, score in scores.items()}, (float(scores["empty"]),)


def of_species(entry: dict) -> tuple[dict, tuple[object, ...]]:
    metadata = {}
    top, sure = entry["predictions_top"], entry["confidences_top"]
    for label in sorted(top):
        metadata[f"#machine_topprediction_{label}"] = top[label]
        metadata[f"#machine_topconfidence_{label}"] = sure[label]
    return metadata, (top["species"], float(sure["species"]))


def predict(ledger: str, empty: str, species: str) -> int:
    connection = open_ledger(ledger)
    connection.execute("BEGIN IMMEDIATE")
    run = connection.execute(RUN, ("predict",)).lastrowid
    for source, file, made_of, columns in (
        ("empty", empty, of_empty, ("machine_blank",)),
        ("species", species, of_species, ("machine_species", "machine_species_confidence")),
    ):
        file_id = connection.execute(
            "INSERT INTO prediction_file (source, format, path, settings, run_id, made_at)"
            " VALUES (?, ?, ?, '{}', ?, 't')",
            (source, f"legacy-{source}", file, run),
        ).lastrowid
        insert = f"{KEY} {', '.join(columns)}) VALUES ({COLUMNS}, {', '.join('?' * len(columns))})"
        made = ((key, *made_of(entry)) for key, entry in entries(file))
        connection.executemany(
            insert,
            ((key, source, as_json(metadata), run, file_id, *scores) for key, metadata, scores in made),
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
