"""Floor of `ctstate export manifest`: two SELECTs in one order, merged; one json.dumps a capture.

python benchmarks/floors/export_manifest.py LEDGER FILE
"""

import json
import sys
from itertools import groupby
from operator import itemgetter

from common import clocked, open_ledger

ORDER = "c.season || '#' || c.site || '#' || c.roll || '#' || substr(c.capture_number + 100000, 2), c.capture_id"


def export(ledger: str, file: str) -> int:
    connection = open_ledger(ledger)
    connection.execute("BEGIN")
    count = 0
    with open(file, "w") as out:
        rows = connection.execute(
            "SELECT c.id, c.capture_id, c.site, c.roll, c.season, c.capture, c.metadata, s.attribution,"
            " s.license, i.path,"
            " (SELECT group_concat(p.metadata, char(10)) FROM prediction p WHERE p.capture_id = c.id)"
            " FROM capture c JOIN season s ON s.id = c.season_id JOIN image i ON i.capture_id = c.id"
            f" WHERE i.problem IS NULL AND c.excluded IS NULL ORDER BY {ORDER}, i.rank"
        )
        for _, group in groupby(rows, itemgetter(0)):
            images = list(group)
            _, name, site, roll, season, number, extra, attribution, license, _, predictions = images[0]
            metadata = {"#capture_id": name, "#site": site, "#roll": roll, "#season": season, "#capture": number}
            metadata |= {"attribution": attribution, "license": license}
            for more in (extra, *(predictions or "").split("\n")):
                if more:
                    metadata.update(json.loads(more))
            info = {"uploaded": False} | ({"machine_learning": True} if predictions else {})
            entry = {"upload_metadata": metadata, "info": info, "images": [row[9] for row in images]}
            out.write(f"{',' if count else '{'}{json.dumps(name)}:{json.dumps(entry)}\n")
            count += 1
        out.write("}")
    connection.close()
    return count


clocked(export, *sys.argv[1:])
