"""The ledger driven with random verbs, crashes and workers, against a model ten times simpler than itself."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import text

from ctstate.errors import FencedError, IllegalMoveError
from ctstate.ledger import Ledger, claims, counts, runs, transitions
from ctstate.ledger.facts import Announced, Made, Moved, NothingMade, ReplyLost, write_down
from ctstate.ledger.schema import capture
from ctstate.ledger.states import State
from tests.builders import is_legal
from tests.builders.ledgers import new_ledger_at
from tests.ledger.conftest import fill

CAPTURES = 5


@dataclass
class Model:
    """What the ledger should say of a capture."""

    state: str = "batched"
    subject: int | None = None
    holder: int | None = None  # the run whose claim is good
    announced: bool = False  # a create was announced and its outcome is not known
    doubtful: bool = False
    moves: int = 2  # events so far


def make_sure(connection, mine: claims.Claim) -> None:
    if mine.row.id not in claims.held(connection, [mine]):
        raise FencedError("not held any more")


class LedgerMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.ledger = Ledger.open(new_ledger_at(self.folder / "l.db"))
        fill(self.ledger, CAPTURES)
        self.model = {key: Model() for key in range(1, CAPTURES + 1)}
        self.live: list[int] = []
        self.held: dict[tuple[int, int], claims.Claim] = {}  # all claims ever given, also stale ones
        self.next_subject = 1000

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            shutil.rmtree(self.folder)

    # -- what the model says of a worker's write -----------------------------------------------------------

    def worker(self, pick: int, write) -> tuple[Model | None, claims.Claim | None]:
        """Let some worker, with some claim it was once given, write; say which capture it changed."""
        if not self.held:
            return None, None
        run_id, key = sorted(self.held)[pick % len(self.held)]
        mine = self.held[run_id, key]
        good = self.model[key].holder == run_id
        try:
            with self.ledger.write() as connection:
                write(connection, mine, run_id)
        except FencedError:
            assert not good, "a good claim was refused"
            return None, None
        assert good, "a stale claim was let through"
        return self.model[key], mine

    def moved(self, model: Model, state: str) -> None:
        model.state, model.holder = state, None
        model.moves += 1
        model.doubtful = model.doubtful or model.announced

    # -- rules ---------------------------------------------------------------------------------------------

    @rule()
    def start_run(self) -> None:
        with self.ledger.write() as connection:
            self.live.append(runs.start(connection, "upload", {}))

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 9), limit=st.integers(1, 3))
    def claim(self, pick: int, limit: int) -> None:
        run_id = self.live[pick % len(self.live)]
        with self.ledger.write() as connection:
            got = claims.claim(connection, run_id, 1, 1, limit)
        expected = [key for key, m in self.model.items() if m.state == "batched"][:limit]
        assert [c.row.id for c in got] == expected
        for mine in got:
            model = self.model[mine.row.id]
            assert (mine.ambiguous_at is not None, mine.row.subject_id) == (model.doubtful, model.subject)
            model.state, model.holder = "uploading", run_id
            model.moves += 1
            self.held[run_id, mine.row.id] = mine

    @rule(pick=st.integers(0, 99))
    def announce(self, pick: int) -> None:
        def write(connection, mine, run_id):
            if self.model[mine.row.id].subject is None:
                write_down(connection, [(mine, [Announced(run_id, 7)])])
            else:
                make_sure(connection, mine)

        model, _ = self.worker(pick, write)
        if model is not None and model.subject is None:
            model.announced, model.doubtful = True, False

    @rule(pick=st.integers(0, 99))
    def created(self, pick: int) -> None:
        self.next_subject += 1
        subject = self.next_subject

        def write(connection, mine, run_id):
            # A capture that has a subject keeps it: a trigger refuses another one.
            write_down(connection, [(mine, [Made(self.model[mine.row.id].subject or subject)])])

        model, _ = self.worker(pick, write)
        if model is not None:
            model.subject, model.announced, model.doubtful = model.subject or subject, False, False

    @rule(pick=st.integers(0, 99))
    def nothing_was_made(self, pick: int) -> None:
        model, _ = self.worker(pick, lambda c, mine, _: write_down(c, [(mine, [NothingMade()])]))
        if model is not None:
            model.announced = model.doubtful = False

    @rule(pick=st.integers(0, 99))
    def reply_lost(self, pick: int) -> None:
        def write(connection, mine, run_id):
            if self.model[mine.row.id].announced:
                write_down(connection, [(mine, [ReplyLost()])])
            else:
                make_sure(connection, mine)

        model, _ = self.worker(pick, write)
        if model is not None and model.announced:
            model.doubtful = True

    @rule(pick=st.integers(0, 99), state=st.sampled_from([State.UPLOADED, State.FAILED, State.BATCHED]))
    def finish(self, pick: int, state: State) -> None:
        def write(connection, mine, run_id):
            if state is State.UPLOADED and self.model[mine.row.id].subject is None:
                make_sure(connection, mine)
            else:
                write_down(connection, [(mine, [Moved(state, "because")])])

        model, _ = self.worker(pick, write)
        if model is not None and not (state is State.UPLOADED and model.subject is None):
            self.moved(model, state.value)

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 9))
    def crash_and_recover(self, pick: int) -> None:
        run_id = self.live.pop(pick % len(self.live))
        with self.ledger.write() as connection:
            connection.execute(
                text("UPDATE run SET heartbeat_at = '2020-01-01T00:00:00.000Z', host_id = 'x' WHERE id = :r"),
                {"r": run_id},
            )
        mine = [m for m in self.model.values() if m.holder == run_id]
        assert self.ledger.recover() == len(mine)
        for model in mine:
            self.moved(model, "batched")

    @rule(key=st.integers(1, CAPTURES))
    def retry(self, key: int) -> None:
        model = self.model[key]
        if model.state in ("failed", "removed", "deleted"):
            self.correct(key, lambda c, seen: transitions.retry(c, 1, seen, "again"))
            if model.state == "deleted":
                model.subject, model.announced, model.doubtful = None, False, False
            self.moved(model, "batched")

    @rule(key=st.integers(1, CAPTURES), state=st.sampled_from([State.REMOVED, State.DELETED]))
    def take_back(self, key: int, state: State) -> None:
        model = self.model[key]
        if model.subject is None or not is_legal(State(model.state), state):
            return
        self.correct(key, lambda c, seen: transitions.move(c, 1, seen, state, "on purpose"))
        self.moved(model, state.value)

    @rule(key=st.integers(1, CAPTURES))
    def adopt(self, key: int) -> None:
        model = self.model[key]
        if model.state not in ("batched", "failed"):
            return
        self.next_subject += 1
        subject = self.next_subject

        def make_room_and_adopt(connection, seen):
            room = transitions.make_room(connection, 1, seen, subject, "found")
            return room is not None and transitions.adopt(connection, 1, room, subject, 1, "found")

        self.correct(key, make_room_and_adopt)
        model.subject, model.announced, model.doubtful = subject, False, False
        self.moved(model, "uploaded")

    def correct(self, key: int, write) -> None:
        with self.ledger.write() as connection:
            seen = connection.execute(capture.select().where(capture.c.id == key)).one()
            assert write(connection, seen)
            assert not write(connection, seen), "what was seen is no longer so: nothing may change"

    @rule(key=st.integers(1, CAPTURES), state=st.sampled_from(list(State)))
    def raw_sql(self, key: int, state: State) -> None:
        """A person with the SQL shell: illegal moves are refused; legal ones are not tried here."""
        here = State(self.model[key].state)
        if here is state or is_legal(here, state):
            return
        with pytest.raises(IllegalMoveError), self.ledger.write() as connection:
            connection.execute(text("UPDATE capture SET state = :s WHERE id = :k"), {"s": state.value, "k": key})

    # -- what always holds ---------------------------------------------------------------------------------

    @invariant()
    def the_ledger_says_what_the_model_says(self) -> None:
        if not hasattr(self, "ledger"):
            return
        with self.ledger.read() as connection:
            rows = {row.id: row for row in connection.execute(capture.select())}
            events = dict(
                tuple(r)
                for r in connection.execute(text("SELECT capture_id, count(*) FROM event GROUP BY capture_id"))
            )
            chain = connection.execute(text("SELECT capture_id, source, target FROM event ORDER BY id")).all()
            assert counts.drift(connection) == 0
        for key, model in self.model.items():
            row = rows[key]
            assert (row.state, row.subject_id) == (model.state, model.subject), key
            assert (row.ambiguous_at is not None) == model.doubtful, key
            assert (row.create_sent_at is not None) == model.announced, key
            assert events[key] == model.moves, key
            if row.state == "uploading":
                assert row.run_id in self.live
        last: dict[int, str | None] = {}
        for key, source, target in chain:
            assert source == last.get(key)
            assert is_legal(State(source) if source else None, State(target))
            last[key] = target


LedgerMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLedgerMachine = LedgerMachine.TestCase
