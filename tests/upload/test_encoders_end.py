"""Encoding processes: light at their beginning, and not waited for for ever at their end."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from ctstate.images import ImageOptions
from ctstate.images.encoding_process import sendable
from ctstate.verbs.upload import encoding
from ctstate.verbs.upload.story import EncoderDiedError


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "END_S", 1.0)
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg")
    others = set(multiprocessing.active_children())
    encoders = encoding.Encoders(1, ImageOptions())
    answers: list[object] = []
    encoders.encode([str(tmp_path / "a.jpg")], None, lambda made, error: answers.append(made or error))
    while not answers:
        time.sleep(0.05)
    (process,) = set(multiprocessing.active_children()) - others
    os.kill(process.pid or 0, signal.SIGSTOP)
    encoders.encode([str(tmp_path / "a.jpg")], None, lambda made, error: answers.append(made or error))
    while not encoders._tasks.empty():  # until it is given to the process: what is not is dropped
        time.sleep(0.01)
    began = time.monotonic()
    encoders.close()
    assert 0.5 < time.monotonic() - began < 20.0
    assert len(answers) == 2, answers


def test_a_process_that_dies_takes_one_capture_with_it(tmp_path: Path) -> None:
    """What the others are at goes on, and what it had not begun is encoded by the next."""
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg")
    encoders = encoding.Encoders(2, ImageOptions())
    answers: list[object] = []

    def give() -> None:
        encoders.encode([str(tmp_path / "a.jpg")], None, lambda made, error: answers.append(made or error))

    def wait_for(many: int) -> None:
        until = time.monotonic() + 30.0
        while len(answers) < many and time.monotonic() < until:
            time.sleep(0.02)
        assert len(answers) == many

    give()
    wait_for(1)
    until = time.monotonic() + 30.0
    while len(multiprocessing.active_children()) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    one, other = (process.pid or 0 for process in multiprocessing.active_children())
    os.kill(one, signal.SIGSTOP)
    os.kill(other, signal.SIGSTOP)
    for _ in range(5):
        give()
    time.sleep(0.3)
    os.kill(one, signal.SIGKILL)
    os.kill(other, signal.SIGCONT)
    wait_for(6)
    encoders.close()
    assert [type(answer) for answer in answers if not isinstance(answer, list)] == [EncoderDiedError]


LOADED = """
import multiprocessing, sys
from ctstate.images.encoding_process import PRELOAD, work
def heavy():
    return [name for name in ("sqlalchemy", "requests", "click", "pandas") if name in sys.modules]
"""


def test_a_process_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    """A worker on a cluster starts many: each with a database and a client in it would cost half a second more."""
    program = tmp_path / "program.py"
    launcher = Path(sys.executable).with_name("ctstate").read_text()
    start = launcher.index("from ctstate")
    top = launcher[start : launcher.index("if __name__")]  # as an installed `ctstate` begins
    program.write_text(
        f"{top}\n{LOADED}\nif __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('forkserver')\n"
        "    context.set_forkserver_preload(PRELOAD)\n"
        "    with context.Pool(1) as pool: print(pool.apply(heavy))\n"
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done


CANCELLED = """
import os, signal, sys, threading
from ctstate.images import ImageOptions
from ctstate.verbs.upload.encoding import Encoders

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: None)  # the run itself stops when it is ready to
    encoders = Encoders(2, ImageOptions())
    encoders.warm_up()
    os.killpg(0, signal.SIGTERM)  # as they begin
    answered = threading.Event()
    encoders.encode([sys.argv[1]], None, lambda made, error: (print(error or "made"), answered.set()))
    answered.wait(30)
    encoders.close()
"""


def test_a_cancelled_job_s_processes_do_not_die_under_the_run(tmp_path: Path) -> None:
    """scancel and qdel signal every process of a job, those that are about to begin, too."""
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg")
    (tmp_path / "program.py").write_text(CANCELLED)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "a.jpg")],
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    assert (done.stdout, done.stderr) == ("made\n", "")


class StrangeError(Exception):
    """Cannot be made again from its words alone."""

    def __init__(self, file: str, *, line: int) -> None:
        super().__init__(f"{file}, line {line}")


def test_an_error_that_nobody_foresaw_reaches_the_run_whatever_its_class() -> None:
    strange = sendable(StrangeError("a.jpg", line=3))
    assert (type(strange), str(strange)) == (RuntimeError, "StrangeError: a.jpg, line 3")
    memory = MemoryError("no room")
    assert sendable(memory) is memory
    assert str(pickle.loads(pickle.dumps(strange))) == str(strange)
