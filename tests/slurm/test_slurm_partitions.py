"""Partitions and their limits: nothing is submitted that would wait for ever, and what waits says why."""

import json

import pytest

from ctstate.cluster.partitions import Partition, parsed, place
from ctstate.errors import UsageError
from tests.slurm.cluster import wait_until
from tests.slurm.rehearsal import Rehearsal

KNOWN = [Partition("main", None, True), Partition("short", 600), Partition("day", 86400)]


def test_what_scontrol_says_of_partitions() -> None:
    """As Slurm 22.05 prints it, shortened."""
    printed = (
        "PartitionName=main AllowGroups=ALL AllowAccounts=ALL Default=YES QoS=N/A MaxTime=UNLIMITED State=UP\n"
        "PartitionName=short AllowGroups=ALL Default=NO MaxNodes=UNLIMITED MaxTime=00:10:00 MinNodes=0 State=UP\n"
        "PartitionName=week AllowGroups=ALL Default=NO MaxTime=7-00:00:00 State=DOWN\n"
    )
    assert parsed(printed) == [
        Partition("main", None, True),
        Partition("short", 600),
        Partition("week", 7 * 86400),
    ]
    assert parsed("") == []


def test_a_job_goes_where_the_last_word_sends_it() -> None:
    site = {"SBATCH_PARTITION": "day"}
    assert place(None, (), KNOWN, {}).names == ("main",)
    assert place(None, (), KNOWN, site).names == ("day",)
    assert place("short", (), KNOWN, site).names == ("short",)
    assert place("short", ("--partition=day",), KNOWN, site).names == ("day",)
    assert place("short,day", (), KNOWN, {}).most == 86400, "Slurm begins it in either"
    for unknown in (place("short", ("--clusters=other",), KNOWN, {}), place("short", (), (), {})):
        assert unknown.wall_time("5:00:00") == "5:00:00"
    with pytest.raises(UsageError, match="no partition 'shrot' here; there are: main, short, day"):
        place("shrot", (), KNOWN, {})


def test_a_wall_time_that_a_partition_does_not_allow_is_refused() -> None:
    short = place("short", (), KNOWN, {})
    assert short.wall_time("10") == "10"
    assert (short.wall_time(None), short.at_most(1800)) == ("00:10:00", "00:10:00")
    assert (place(None, (), KNOWN, {}).wall_time(None), short.at_most(60)) == ("96:00:00", "00:01:00")
    with pytest.raises(UsageError, match="say --time 00:10:00, or --partition main"):
        short.wall_time("5:00:00")


def test_a_user_asks_for_more_than_the_partition_allows(rehearsal: Rehearsal) -> None:
    rehearsal.season(5)
    options = (*rehearsal.upload_options(), "--partition", "short")
    said = rehearsal.ctstate("submit", *options, "--time", "5:00:00", code=2)
    assert said.count("\n") == 1, said
    assert "--time 5:00:00 is more than partition short allows" in said
    assert "no partition 'shrot' here; there are: main, short" in rehearsal.ctstate(
        "submit", *rehearsal.upload_options(), "--partition", "shrot", code=2
    )
    assert rehearsal.queued() == []
    assert rehearsal.runs("submit") == []
    # Nothing said: as long as the partition allows, and the small job that follows as well.
    job = rehearsal.submit("--partition", "short", "--workers", "1")
    assert rehearsal.cluster.job(job)["TimeLimit"] == "00:10:00"
    assert rehearsal.cluster.job(str(int(job) + 1))["TimeLimit"] == "00:10:00"
    rehearsal.wait_until_settled()
    rehearsal.check(5)


def test_runs_says_what_waits_and_why(rehearsal: Rehearsal) -> None:
    rehearsal.season(5)
    later = rehearsal.submit("--workers", "3", "--time", "10", "--", "--begin=now+1hour")
    # Of what Slurm accepts and never begins: what a person says behind ctstate's back.
    never = rehearsal.submit("--partition", "short", "--time", "10", "--", "--time=5:00:00")

    def said() -> str:
        printed = rehearsal.ctstate("runs")
        return printed if "BeginTime" in printed and "PartitionTimeLimit" in printed else ""

    printed = wait_until(said, 20, "reasons")
    assert f"In the queue: 3 workers of job {later} (BeginTime).\n" in printed
    assert f"In the queue: 4 workers of job {never} (PartitionTimeLimit): --time is more" in printed
    rows = [row for row in json.loads(rehearsal.ctstate("runs", "--json")) if row["state"] == "queued"]
    assert [(row["job"], row["tasks"], row["reason"]) for row in rows] == [
        (later, 3, "BeginTime"),
        (never, 4, "PartitionTimeLimit"),
    ]
    rehearsal.ctstate("stop", "--all")
    wait_until(lambda: "In the queue" not in rehearsal.ctstate("runs"), 20, "an empty queue")
