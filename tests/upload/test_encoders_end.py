"""The end of an upload does not wait for ever for a process that hangs."""

import os
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from ctstate.images import ImageOptions
from ctstate.verbs.upload import encoding


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "END_S", 1.0)
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg")
    encoders = encoding.Encoders(1, ImageOptions())
    answers: list[object] = []
    encoders.encode([str(tmp_path / "a.jpg")], None, lambda made, error: answers.append(made or error))
    while not answers:
        time.sleep(0.05)
    (pid,) = encoders._pool._processes
    os.kill(pid, signal.SIGSTOP)
    encoders.encode([str(tmp_path / "a.jpg")], None, lambda made, error: answers.append(made or error))
    began = time.monotonic()
    encoders.close()
    assert 0.5 < time.monotonic() - began < 20.0
    assert len(answers) == 2
