"""Locks between hosts, and the ledger on a network file system. Nothing is mocked: sshfs is one, without locks."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from ctstate.ledger import Ledger
from ctstate.ledger.sqlite import file_system_of, on_network
from ctstate.verbs.doctor.locks import (
    ADVICE_NOT_SHARED,
    ADVICE_TWO_NODES,
    Locks,
    judge_nodes,
    self_test,
    two_node_probe,
)
from tests.slurm.cluster import Cluster
from tests.slurm.rehearsal import sftp_server, share_command, skip_or_fail


def need_sshfs() -> None:
    if not sftp_server():
        skip_or_fail("not installed: sshfs and openssh-sftp-server, or no /dev/fuse")


def test_self_test_on_a_local_disk(tmp_path: Path) -> None:
    verdict = self_test(tmp_path / "season.db")
    assert (verdict.locks, verdict.advice) == (Locks.HOLD, "")
    assert os.listdir(tmp_path) == []


def test_self_test_says_when_it_could_not_be_done(tmp_path: Path) -> None:
    verdict = self_test(tmp_path / "nowhere" / "season.db")
    assert verdict.locks is Locks.UNKNOWN
    assert "No such file" in verdict.detail
    assert verdict.advice


def test_two_nodes_with_locks(cluster: Cluster, tmp_path: Path) -> None:
    verdict = two_node_probe(tmp_path / "season.db", partition="main", options=["--nodelist=n1,n2"])
    assert (verdict.locks, verdict.between, verdict.advice) == (Locks.HOLD, "n1 and n2", "")
    assert os.listdir(tmp_path) == []


def test_two_nodes_whose_locks_do_not_hold(cluster: Cluster) -> None:
    need_sshfs()
    # Each of these nodes has a mount of its own: what Lustre does with `localflock`, NFS with `nolock`.
    (cluster.folder / "export" / "seasons").mkdir(exist_ok=True)
    place = cluster.folder / "shared" / "seasons"
    with mounted(cluster.folder):
        verdict = two_node_probe(place / "season.db", options=["--nodelist=n3,n4"])
    assert verdict.locks is Locks.DO_NOT_HOLD
    assert "both were given the same lock" in verdict.detail
    assert verdict.advice == ADVICE_TWO_NODES
    assert os.listdir(cluster.folder / "export" / "seasons") == []


def test_two_nodes_that_see_different_folders(cluster: Cluster) -> None:
    need_sshfs()
    verdict = two_node_probe(cluster.folder / "shared" / "season.db", options=["--nodelist=n1,n3"], wait=2)
    assert verdict.locks is not Locks.HOLD
    assert verdict.advice


def test_no_two_nodes(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = two_node_probe(tmp_path / "season.db", partition="nowhere")
    assert refused.locks is Locks.UNKNOWN
    assert "srun refused" in refused.detail
    late = two_node_probe(tmp_path / "season.db", options=["--begin=now+1hour"], timeout=2)
    assert late.locks is Locks.UNKNOWN
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "srun is not here" in two_node_probe(tmp_path / "season.db").detail


def test_verdicts_on_what_two_nodes_say() -> None:
    hold = '{"role": "hold", "node": "a", "answered": true}\n'
    assert judge_nodes(hold + '{"role": "try", "node": "b", "seen": true, "got": []}').locks is Locks.HOLD
    one = judge_nodes(hold + '{"role": "try", "node": "b", "seen": true, "got": ["a reader beside the writer"]}')
    assert one.locks is Locks.DO_NOT_HOLD
    blind = judge_nodes(hold + '{"role": "try", "node": "b", "seen": false, "got": []}')
    assert (blind.locks, blind.advice) == (Locks.DO_NOT_HOLD, ADVICE_NOT_SHARED)
    none = judge_nodes(hold + '{"role": "try", "node": "b", "error": "Function not implemented", "errno": 38}')
    assert none.locks is Locks.DO_NOT_HOLD
    same = judge_nodes(hold + '{"role": "try", "node": "a", "seen": true, "got": []}')
    assert same.locks is Locks.UNKNOWN
    assert judge_nodes("Welcome to the cluster\n" + hold).locks is Locks.UNKNOWN


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """Mount `folder`/export on `folder`/shared for this host."""
    subprocess.run(["sh", "-c", share_command(folder)], check=True, timeout=20)
    try:
        yield folder / "shared"
    finally:
        # Lazily: FUSE closes files a moment after the process that had them open.
        subprocess.run(["fusermount", "-u", "-z", str(folder / "shared")], check=True, timeout=20)


def test_a_ledger_on_a_network_file_system_uses_no_wal(tmp_path: Path) -> None:
    need_sshfs()
    folder = Path(tempfile.mkdtemp(prefix="ns", dir="/tmp"))
    try:
        with mounted(folder) as place:
            with Ledger.open(place / "season.db", create=True) as ledger:
                assert (file_system_of(ledger.path), on_network(ledger.path)) == ("fuse.sshfs", True)
                with ledger.read() as connection:
                    assert connection.execute(text("PRAGMA journal_mode")).scalar() == "truncate"
                    assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
            assert not [name for name in os.listdir(place) if name.endswith(("-wal", "-shm"))]
            assert self_test(place / "season.db").locks is Locks.HOLD  # between two processes of one host
            assert journal_of(place / "season.db") == "truncate"
        # The same ledger back on a local disk, and again on the network: it changes over each time.
        assert journal_of(folder / "export" / "season.db") == "wal"
        with mounted(folder) as place:
            assert journal_of(place / "season.db") == "truncate"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def journal_of(path: Path) -> str:
    with Ledger.open(path) as ledger, ledger.read() as connection:
        return str(connection.execute(text("PRAGMA journal_mode")).scalar())
