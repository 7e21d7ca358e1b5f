"""What a data manager sees of an upload while it runs: how far it is, how fast, and how long it will take."""

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import event

from ctstate.commands.bar import duration, in_words
from ctstate.ledger import Ledger, uploads
from ctstate.machine import Machine, running_on
from ctstate.verbs.upload import Progress, upload
from ctstate.verbs.upload.gauge import Counts, Gauge
from tests.builders.season_on_sandbox import Season


class Clock(Machine):
    """Stands still until it is moved."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    with running_on(clock):
        yield clock


def progress_of(season: Season, **options: object) -> list[Progress]:
    seen: list[Progress] = []
    with Ledger.open(season.path) as ledger:
        upload(ledger, season.connect(), season.options(**options), on_progress=seen.append)
    return seen


def test_captures_that_are_whole_are_seen_before_they_are_linked(new_season) -> None:
    season = new_season(12)
    season.z.set_faults({"latency_ms": {"create subject": 100}})
    seen = progress_of(season)
    assert any(p.uploaded == 0 and p.waiting > 0 and p.done == p.waiting for p in seen)
    assert any(p.uploading > 0 for p in seen)
    assert all(p.total == 12 and p.done <= 12 for p in seen)
    assert (seen[-1].uploaded, seen[-1].waiting, seen[-1].uploading) == (12, 0, 0)


def test_a_limit_is_all_there_is_to_do(new_season) -> None:
    seen = progress_of(new_season(4), limit=3)
    assert {(p.total, p.workers) for p in seen} == {(3, 1)}
    assert seen[-1].done == 3


def test_the_estimate_does_not_jump_with_the_linking(new_season, clock: Clock) -> None:
    """10 captures a second, linked 200 at a time: counting links makes 0/s of it for 20 s, and then a leap."""
    season = new_season(1)
    with Ledger.open(season.path) as ledger:
        gauge = Gauge(ledger, 1, uploads.Extent(1), 0, 3000, alone=True)
        ends = []
        for tick in range(600):
            clock.now += 0.2
            whole = max(0, 2 * (tick - 10))  # it logs in first
            seen = gauge.read(Counts(claimed=whole + 70, whole=whole, uploaded=whole // 200 * 200))
            if seen.seconds_left is not None:
                ends.append(clock.now + seen.seconds_left)
        assert len(ends) > 550, "known after some seconds"
        assert max(ends) - min(ends) < 10


def test_the_rate_follows_when_zooniverse_becomes_slower(new_season, clock: Clock) -> None:
    with Ledger.open(new_season(1).path) as ledger:
        gauge = Gauge(ledger, 1, uploads.Extent(1), 0, 100_000, alone=True)
        whole = 0.0
        for tick in range(3000):
            clock.now += 0.2
            whole += 4 if tick < 1500 else 0.4
            rate = gauge.read(Counts(claimed=int(whole) + 70, whole=int(whole))).rate
            if tick == 1499:
                assert rate == pytest.approx(20, rel=0.05)
        assert rate == pytest.approx(2, rel=0.2)


def test_with_several_workers_all_of_them_are_counted(new_season, monkeypatch) -> None:
    monkeypatch.setattr("ctstate.verbs.upload.gauge.LOOK_EVERY_S", 0.1)
    season = new_season(40)
    season.z.set_faults({"latency_ms": {"create subject": 150, "put image": 50}})
    other = threading.Thread(target=lambda: season.upload(link_batch_size=5))
    other.start()
    while not season.rows("SELECT 1 FROM capture WHERE state = 'uploading'"):
        pass
    seen = progress_of(season, link_batch_size=5)
    other.join()
    assert max(p.workers for p in seen) == 2
    total = seen[0].total
    ((mine,),) = season.rows(
        "SELECT count(*) FROM event WHERE target = 'uploaded' AND run_id = (SELECT max(id) FROM run)"
    )
    assert mine < total
    assert seen[-1].done > mine
    season.check()


def test_what_others_did_counts_as_what_this_run_did(new_season, clock: Clock, monkeypatch) -> None:
    """Others bring one capture a second to where it is whole, and this run none."""
    season = new_season(1)
    whole = iter(range(0, 1000, 10))
    monkeypatch.setattr(uploads, "of_others", lambda *_: uploads.OfOthers(0, whole=next(whole)))
    with Ledger.open(season.path) as ledger:
        gauge = Gauge(ledger, 1, uploads.Extent(1, 1), 0, 400, alone=False)
        told = gauge.read(Counts(claimed=1))
        assert told.waiting == 0
        for _ in range(30):
            clock.now += 10.0
            told = gauge.read(Counts(claimed=1))
    assert told.rate == pytest.approx(1.0, rel=0.05)


def test_what_others_did_is_found_without_reading_the_season(new_season) -> None:
    """Asked every few seconds, of ledgers with a million captures."""
    season = new_season(3)
    season.upload(limit=1)
    asked: list[tuple[str, object]] = []
    with Ledger.open(season.path) as ledger, ledger.read() as connection:
        listen = lambda c, cursor, sql, values, context, many: asked.append((sql, values))  # noqa: E731
        event.listen(connection.engine, "before_cursor_execute", listen)
        found = uploads.of_others(connection, 99, uploads.Extent(1, 1), uploads.OfOthers(0))
        event.remove(connection.engine, "before_cursor_execute", listen)
        assert (found.uploaded, found.failed) == (1, 0)
        plans = [
            str(step)
            for sql, values in asked
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
        ]
        assert asked
        assert not [step for step in plans if re.search(r"SCAN (TABLE )?(capture|event|image)\b", step)], plans
        assert any("season_id=? AND batch_id=? AND state=?" in step for step in plans), plans
        again = uploads.of_others(connection, 99, uploads.Extent(1, 1), found)
        assert again == found, "what was counted is not counted again"
        mine = int(season.rows("SELECT max(id) FROM run")[0][0])
        assert uploads.of_others(connection, mine, uploads.Extent(1, 1), uploads.OfOthers(0)).uploaded == 0


def command(season: Season) -> tuple[list[str], dict[str, str]]:
    words = [
        sys.executable, "-m", "ctstate", "--ledger", str(season.path), "--endpoint", season.z.url, "upload",
        "--project-id", season.z.project_id, "--n-processes", "1", "--settle-seconds", "1",
    ]  # fmt: skip
    account = {"PANOPTES_USERNAME": season.z.login, "PANOPTES_PASSWORD": season.z.password}
    return words, {**os.environ, **account, "TERM": "xterm", "COLUMNS": "150"}


def test_a_person_at_a_terminal_sees_a_bar_and_the_warnings_above_it(new_season) -> None:
    season = new_season(8)
    (season.folder / "images" / season.rows("SELECT path FROM image WHERE capture_id = 1")[0][0]).unlink()
    season.z.set_faults({"latency_ms": {"create subject": 300, "link subjects": 600}})
    words, environment = command(season)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        shown += part
    os.close(ours)
    output = process.communicate(timeout=60)[0]
    screen = shown.decode()
    assert process.returncode == 1
    assert re.search(r"\d+% .*\d of 8 captures, .*\d to be linked", screen), screen
    assert ": failed: " in screen
    hidden = screen.rindex("\x1b[?25l")
    assert hidden < screen.index("\x1b[?25h", hidden) < screen.index("8 captures"), (
        "the cursor is there all the time"
    )
    assert "\x1b" not in output
    assert "7 captures uploaded" in output


def test_a_job_without_a_terminal_is_shown_plain_lines_and_loads_no_bar(new_season) -> None:
    season = new_season(3)
    words, environment = command(season)
    program = (
        "import sys, ctstate.commands.bar as bar, ctstate.commands as commands\n"
        "bar.LOG_EVERY_S = 0.0\n"
        "try:\n    commands.main()\nexcept SystemExit:\n    pass\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words[3:]], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "False"
    assert "\x1b" not in done.stderr + done.stdout
    assert re.search(r"INFO 3 of 3 captures", done.stderr), done.stderr


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (59, "59 s"),
        (61, "1 min 01 s"),
        (3600, "1 h 00 min"),
        (7325, "2 h 02 min"),
        (200_000, "2 d 07 h"),
    ],
)
def test_a_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_line() -> None:
    seen = Progress(total=1200, uploaded=200, failed=1, waiting=99, uploading=60, in_doubt=2, workers=3, rate=10.0)
    assert in_words(seen) == (
        "300 of 1,200 captures, 10.0/s, 1 min 30 s left, 1 failed, 2 in doubt, 60 uploading, 99 to be linked, "
        "3 workers"
    )
