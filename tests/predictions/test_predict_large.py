"""Large files in bounded memory, and a predict that is killed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.season_files import SeasonFiles

MEASURE = """
import sys
from ctstate.ledger import Ledger
from ctstate.verbs.predict import PredictionFile, predict
with Ledger.open(sys.argv[1]) as ledger:
    report = predict(ledger, [PredictionFile(sys.argv[2])])
# VmHWM, not ru_maxrss: that one begins with what the parent had when it started this process.
peak = next(int(l.split()[1]) // 1024 for l in open('/proc/self/status') if l.startswith('VmHWM'))
print(report.entries, report.unknown, report.captures, peak)
"""

SUICIDE = """
import os, signal, sys
import ctstate.verbs.predict as predictions
from ctstate.ledger import Ledger, intake_predictions

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[3] == "writing":
    intake_predictions.note_predicted = die  # after the predictions are written, before the commit
with Ledger.open(sys.argv[1]) as ledger:
    files = [predictions.PredictionFile(sys.argv[2])]
    predictions.predict(ledger, files, **({"on_progress": die} if sys.argv[3] == "reading" else {}))
"""


def write_megadetector(file: Path, season: SeasonFiles, images: int) -> None:
    """Like a real run: the header behind the images, several detections each."""
    detections = json.dumps([{"category": "1", "conf": 0.5, "bbox": [0.1, 0.2, 0.3, 0.4]}] * 8)
    with open(file, "w", encoding="utf-8") as stream:
        stream.write('{"images": [')
        for number in range(images):
            stream.write(f'{{"file": "OTHER/IMAG{number:07}.JPG", "detections": {detections}}},\n')
        stream.write(json.dumps({"file": season.path(1), "detections": []}))
        stream.write('], "detection_categories": {"1": "animal"}, "info": {"format_version": "1.5"}}')


def test_memory_is_bounded(season: SeasonFiles, tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    write_megadetector(file, season, 150_000)
    assert file.stat().st_size > 75e6
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(season.ledger_path), str(file)],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    entries, unknown, captures, megabytes = map(int, done.stdout.split())
    assert (entries, unknown, captures) == (150_001, 150_000, 1)
    assert megabytes < 200


@pytest.mark.parametrize("moment", ["reading", "writing"])
def test_killed_midway_the_ledger_is_as_it_was(season: SeasonFiles, tmp_path: Path, moment: str) -> None:
    file = tmp_path / "p.json"
    file.write_text(json.dumps([{"file": season.path(1), "detections": []}]), encoding="utf-8")
    before = season.contents()
    arguments = [sys.executable, "-c", SUICIDE, str(season.ledger_path), str(file)]
    assert subprocess.run([*arguments, moment], timeout=60).returncode == -signal.SIGKILL
    assert season.contents() == before
    assert subprocess.run([*arguments, "never"], timeout=60).returncode == 0
    assert season.contents() != before
