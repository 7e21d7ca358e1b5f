"""Scripts as text: what is in them, and that a shell can read them."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ctstate.cluster.scripts import JobOptions, Program, directives, pbs_workers, slurm_workers, walltime_seconds
from ctstate.cluster.tools import clean_environment
from ctstate.errors import UsageError
from ctstate.verbs.submit import legacy_script

PROGRAM = Program(("--ledger", "/data/a season's.db", "upload", "--season", "S$1"), python="/opt/py 3/python")


def runs(script: str) -> list[str]:
    """Return the words that the script would become, as bash reads them."""
    last = script.strip().splitlines()[-1]
    assert last.startswith("exec ")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    return shlex.split(last)[1:]


def test_slurm_script(tmp_path: Path) -> None:
    options = JobOptions(
        workers=8,
        at_once=3,
        memory="4G",
        partition="main",
        account="ecology",
        mail_user="a@b.org",
        more=("--qos=normal", "--exclusive", '--comment=two "words"'),
        job_name="ctstate-S 1",
    )
    script = slurm_workers(options, PROGRAM, tmp_path, Path("/logs/100%"))
    for line in (
        "--array=1-8%3",
        "--time=96:00:00",
        "--mem=4G",
        "--partition=main",
        "--account=ecology",
        "--mail-user=a@b.org",
        "--mail-type=ALL",
        "--signal=B:TERM@300",
        "--requeue",
        "--qos=normal",
        "--exclusive",
        '--comment="two \\"words\\""',
        '--job-name="ctstate-S 1"',
        "--output=/logs/100%%/%x_%A_%a.out",
    ):
        assert f"\n#SBATCH {line}\n" in script
    assert runs(script) == [PROGRAM.python, "-m", "ctstate", *PROGRAM.arguments]


@pytest.mark.parametrize(
    ("pro", "lines"),
    [
        (False, ("-t 1-8%3", "-l walltime=96:00:00,nodes=1:ppn=3,mem=4gb")),
        (True, ("-J 1-8%3", "-l select=1:ncpus=3:mem=4gb", "-l walltime=96:00:00")),
    ],
)
def test_pbs_script(tmp_path: Path, pro: bool, lines: tuple[str, ...]) -> None:
    options = JobOptions(workers=8, at_once=3, cpus=3, memory="4G", partition="long", mail_user="a@b.org")
    script = pbs_workers(options, PROGRAM, tmp_path, tmp_path, pro=pro)
    for line in (*lines, "-q long", "-M a@b.org", "-m abe", "-r y"):
        assert f"\n#PBS {line}\n" in script
    words = runs(script)
    assert words[:4] == ["timeout", "--preserve-status", "--signal=TERM", "--kill-after=290"]
    assert words[4] == str(96 * 3600 - 300)
    assert words[5:] == [PROGRAM.python, "-m", "ctstate", *PROGRAM.arguments]


def test_a_pbs_worker_is_stopped_before_the_wall_time(tmp_path: Path) -> None:
    child = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); time.sleep(30)"
    (tmp_path / "ctstate.py").write_text(child)
    program = Program((), python=sys.executable, import_path=str(tmp_path))
    options = JobOptions(time="0:03", stop_before=1)
    script = pbs_workers(options, program, tmp_path, tmp_path, pro=False)
    assert subprocess.run(["bash"], input=script, text=True, timeout=20).returncode == 75


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("1:30", 90), ("96:00:00", 345600), ("2-0", 172800), ("1-2:30", 95400), ("1-00:00:01", 86401)],
)
def test_wall_times(text: str, seconds: int) -> None:
    assert walltime_seconds(text) == seconds


@pytest.mark.parametrize("wrong", ["", "soon", "0", "1:2:3:4", "-5", "12h", "9" * 5000])
def test_wrong_wall_times(wrong: str) -> None:
    with pytest.raises(UsageError, match="--time"):
        JobOptions(time=wrong)


def test_wrong_options() -> None:
    for wrong in ({"workers": 0}, {"at_once": 0}, {"more": ("qos",)}, {"account": "a\n#SBATCH --uid=0"}):
        with pytest.raises(UsageError):
            JobOptions(**wrong)  # type: ignore[arg-type]


def test_environment_of_jobs_has_no_secrets() -> None:
    given = {"PATH": "/bin", "PANOPTES_PASSWORD": "x", "GH_TOKEN": "x", "SLURM_CONF": "/c", "SLURM_JOB_ID": "3"}
    assert clean_environment(given) == {"PATH": "/bin", "SLURM_CONF": "/c"}


def test_what_a_site_has_set_for_all_jobs_stays() -> None:
    usual = {"SBATCH_PARTITION": "short", "SBATCH_ACCOUNT": "eco", "SBATCH_QOS": "low", "SBATCH_RESERVATION": "r"}
    breaks = {
        "SBATCH_TIMELIMIT": "1",
        "SBATCH_ARRAY_INX": "1-9",
        "SBATCH_SIGNAL": "9",
        "SBATCH_OUTPUT": "/dev/null",
    }
    assert clean_environment({**usual, **breaks}) == usual


def test_what_ctstate_says_stands_on_the_command_line(tmp_path: Path) -> None:
    options = JobOptions(partition="main", more=('--comment=two "words"',), job_name="ctstate-S 1")
    script = slurm_workers(options, PROGRAM, tmp_path, Path("/logs/100%"))
    words = directives(script)
    assert {"--partition=main", "--time=96:00:00", "--signal=B:TERM@300", "--job-name=ctstate-S 1"} <= set(words)
    assert '--comment=two "words"' in words
    assert len(words) == script.count("#SBATCH ")


def test_a_wall_time_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(UsageError, match="leaves no time"):
        JobOptions(time="5", stop_before=300)
    JobOptions(time="6", stop_before=300)


def test_pbs_refuses_none_of_it(tmp_path: Path) -> None:
    """Each was refused by an OpenPBS 23.06: a folder with a blank, an array of one, a name with a blank."""
    logs = tmp_path / "my logs"
    options = JobOptions(workers=1, job_name="ctstate-WLD S6 of 2017")
    for pro in (True, False):
        script = pbs_workers(options, PROGRAM, tmp_path, logs, pro=pro)
        assert f'\n#PBS -o "{logs}/"\n' in script
        assert "\n#PBS -N ctstate-WLD_S6_\n" in script
        assert not [line for line in script.splitlines() if line.startswith(("#PBS -J", "#PBS -t"))]
        assert f"\nmkdir -p '{logs}'\n" in script
    assert "#PBS -N j2017\n" in pbs_workers(JobOptions(job_name="2017"), PROGRAM, tmp_path, logs, pro=True)


def test_legacy_script_needs_its_parameters() -> None:
    script = legacy_script("/data/it's.db", python="/opt/python")
    assert "DEFAULT_PYTHON=/opt/python\n" in script
    done = subprocess.run(["bash"], input=script, text=True, capture_output=True, env={"SEASON": "S"}, timeout=10)
    assert done.returncode == 2
    assert "PROJECT_ID is not set" in done.stderr
