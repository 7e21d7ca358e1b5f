"""A season said once: `ctstate init`, `plan`, `run`, and what each verb takes from the season's file."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from ctstate.commands.root import cli
from ctstate.commands.season_file import OPTIONS, defaults
from ctstate.errors import InputError, UsageError
from ctstate.formats.season_file import SeasonFile, find_season_file, read_season_file, schema
from ctstate.sandbox import SandboxProcess
from ctstate.verbs.demo import make_season
from tests.builders.command_line import called

NAME = "FILE_S1"


def written(folder: Path, text: str, name: str = "season.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


class InFolder:
    """A folder with a season, its file, and a command line that is called there with nothing else said."""

    def __init__(self, folder: Path, sandbox: SandboxProcess, captures: int, more: str = "") -> None:
        self.folder = folder
        make_season(folder, captures, season=NAME, size=(48, 32))
        password = folder / "password.ini"
        password.write_text(f"[zooniverse]\nusername = {sandbox.login}\npassword = {sandbox.password}\n")
        self.file = written(
            folder,
            f'season = "{NAME}"\nledger = "{NAME}.db"\ncaptures = "captures.csv"\nimages_root = "images"\n'
            f'attribution = "a"\nlicense = "l"\nendpoint = "{sandbox.url}"\nproject_id = {sandbox.project_id}\n'
            f'workflow_id = {sandbox.workflow_id}\npassword_file = "password.ini"\n{more}',
        )

    @property
    def environment(self) -> dict[str, str]:
        ours = ("PANOPTES_", "CTSTATE_")
        return {key: value for key, value in os.environ.items() if not key.startswith(ours)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ctstate", *arguments], env=self.environment,
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = called(*arguments, environment=self.environment, folder=self.folder, together=True)
        assert done.returncode == code, done.stdout
        return done.stdout


def test_a_season_comes_to_zooniverse_with_two_commands(tmp_path: Path, sandbox: SandboxProcess) -> None:
    here = InFolder(
        tmp_path, sandbox, 9, '[[exclusions]]\nwhere = "CAST(capture AS INTEGER) = 9"\nreason = "people"\n'
    )
    first = here("plan")
    assert [line.split()[2] for line in first.splitlines() if "ctstate" in line] == [
        "manifest", "exclude", "upload", "verify", "link"
    ]  # fmt: skip
    said = here("run")
    assert "All is well: 8 captures" in said
    assert said.rstrip().endswith("All is done.")
    state = sandbox.state()
    assert len([subject for subject in state["subjects"] if subject["active"]]) == 8
    assert [len(flow["subject_sets"]) for flow in state["workflows"] if flow["id"] == sandbox.workflow_id] == [1]
    again = here("run")
    assert "ctstate upload" not in again
    assert "ctstate exclude" not in again
    assert "Linked already" in again


def test_a_rule_on_predictions_that_are_not_there_stops_the_run(tmp_path: Path, sandbox: SandboxProcess) -> None:
    """Nobody would be excluded by it, and people would be shown to the public."""
    rule = '[[exclusions]]\nwhere = "machine_person > 0.5"\nreason = "people"\n'
    here = InFolder(tmp_path, sandbox, 3, rule)
    said = here("run", code=1)
    assert "no capture has a value in machine_person" in said
    assert "ctstate upload" not in said
    assert sandbox.state()["subjects"] == []
    # With the predictions, the rule waits for them, and holds.
    names = [f"{NAME}#C11#1#1", f"{NAME}#Wasserstelle_Süd#1#2", f"{NAME}#B04#1#3"]
    entries = [f"{name},{score}" for name, score in zip(names, (0.9, 0.1, 0.1), strict=True)]
    (tmp_path / "md.csv").write_text("\n".join(["capture_id,person", *entries]))
    here.file.write_text(here.file.read_text() + '[[predictions]]\nfile = "md.csv"\nformat = "csv"\n')
    assert [line.split()[2] for line in here("plan").splitlines() if ". ctstate" in line][:2] == [
        "predict",
        "exclude",
    ]
    assert "All is well: 2 captures" in here("run")


def test_a_sample_is_taken_once(tmp_path: Path, sandbox: SandboxProcess) -> None:
    here = InFolder(tmp_path, sandbox, 6)
    here.file.write_text("sample = 1\n" + here.file.read_text())
    assert "leave images out: at most 1 image of a capture" in here("plan")
    said = here("run")
    assert "At most 1 image a capture:" in said
    assert "All is well: 6 captures" in said
    assert {len(subject["metadata"]["#original_images"]) for subject in sandbox.state()["subjects"]} == {1}
    assert "ctstate sample" not in here("run")


def test_a_workflow_that_is_not_there_stops_it_before_anything_is_uploaded(
    tmp_path: Path, sandbox: SandboxProcess
) -> None:
    here = InFolder(tmp_path, sandbox, 3)
    right = here.file.read_text()
    here.file.write_text(re.sub(r"workflow_id = .*", "workflow_id = 99", right))
    assert "no workflow 99" in here("run", code=1)
    assert "no workflow 99" in here("plan", code=1)
    assert sandbox.state()["subjects"] == []
    here.file.write_text(right)
    assert "All is well: 3 captures" in here("run")


def test_a_run_that_is_killed_goes_on(tmp_path: Path, sandbox: SandboxProcess) -> None:
    here = InFolder(tmp_path, sandbox, 12, "[batches]\nnumber = 2\n")
    sandbox.set_faults({"latency_ms": {"create subject": 300}})
    process = here.start("run")
    while not sandbox.state()["subjects"]:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    sandbox.clear_faults()
    # The server may still be at work on what was sent; a sandbox need not be waited for as long as Zooniverse.
    here("upload", "--settle-seconds", "0.5")
    said = here("run")
    assert "ctstate manifest" not in said
    assert "All is well: 12 captures" in said


def test_it_stops_where_a_person_is_needed_and_says_so(tmp_path: Path, sandbox: SandboxProcess) -> None:
    here = InFolder(tmp_path, sandbox, 3)
    broken = next((tmp_path / "images").glob("**/*_1.JPG"))
    broken.write_bytes(b"\xff\xd8\xff no picture")
    said = here("run", code=1)
    assert "Stopped at `ctstate upload` (exit code 1)" in said
    again = here("run", code=1)
    assert "1 capture is failed: a person is needed" in again
    assert "ctstate retry" in again


def test_a_newer_file_of_captures_is_read_again(tmp_path: Path, sandbox: SandboxProcess) -> None:
    here = InFolder(tmp_path, sandbox, 3)
    here("manifest")
    assert "ctstate manifest" not in here("plan")
    os.utime(tmp_path / "captures.csv", (time.time() + 5, time.time() + 5))
    assert "is newer than what was read of it" in here("plan")


def test_plan_says_what_the_upload_will_cost(tmp_path: Path, sandbox: SandboxProcess) -> None:
    here = InFolder(tmp_path, sandbox, 30)
    alone, _ = here.start("plan").communicate(timeout=120)
    assert "once the captures are read" in alone
    here("manifest")
    cost = json.loads(here("plan", "--json"))["cost"]
    sizes = sorted((tmp_path / "images").glob("**/*.JPG"))
    assert (cost["captures"], cost["images"]) == (30, len(sizes))
    assert cost["requests"] == 30 + len(sizes)
    assert cost["allowance"] == 10000
    assert cost["hours"] is None
    here("upload", "--limit", "25", code=75)
    later = json.loads(here("plan", "--json"))["cost"]
    assert later["captures"] == 5
    assert later["allowance"] == 10000 - 25
    assert later["rate"] > 0
    sent = [image["bytes"] for s in sandbox.state()["subjects"] for image in s["images"]]
    assert cost["bytes"] / cost["images"] == pytest.approx(sum(sent) / len(sent), rel=0.3)


def test_options_and_the_environment_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call_ctstate: Any
) -> None:
    written(tmp_path, 'season = "S"\nproject_id = 5\nledger = "from_file.db"\nattribution = "a"\nlicense = "l"\n')
    monkeypatch.setenv("CTSTATE_LEDGER", "from_environment.db")
    assert "from_environment.db" in call_ctstate("status").error()
    monkeypatch.delenv("CTSTATE_LEDGER")
    assert "from_file.db" in call_ctstate("status").error()
    assert "other.db" in call_ctstate("--ledger", "other.db", "status").error()


def test_it_is_named_found_or_neither(tmp_path: Path) -> None:
    assert find_season_file(tmp_path) is None
    written(tmp_path, "[tool]\nx = 1\n", "pyproject.toml")
    written(tmp_path, "season = = 1", "broken.toml")
    assert find_season_file(tmp_path) is None
    one = written(tmp_path, 'season = "A"\n', "a.toml")
    assert find_season_file(tmp_path) == str(one)
    written(tmp_path, 'season = "B"\n', "b.toml")
    with pytest.raises(UsageError, match=r"a\.toml, b\.toml\): name one with --season-file"):
        find_season_file(tmp_path)


WRONG = {
    'season = "S"\nattributon = "x"': "attributon: there is no such key; did you mean attribution?",
    'season = "S"\n[images]\nqualitty = 5': "images.qualitty: there is no such key; did you mean quality?",
    'season = "S"\n[[exclusions]]\nwere = "x"\nreason = "r"': "exclusions.were: there is no such key; did you",
    'season = "S"\nzzz = 1': "zzz: there is no such key; known are season, ",
    'season = "S"\nproject_id = "593"': "project_id: expected `int`, got `str`",
    'season = "S"\nproject_id = -1': "project_id: expected `int` >= 1",
    'season = "S"\nimages = 3': "images: expected `object`, got `int`",
    "project_id = 3": "the file: object missing required field `season`",
    'season = "S"\n[[exclusions]]\nreason = "r"': "exclusions, number 1: give either `where` or `list`",
    'season = "S"\n[batches]\nnumber = 1\nmax_size = 2': "batches: give either `number` or `max_size`",
    'season = "S': "not readable as TOML",
    "season = 'S'\nx = " + "[" * 5000: "nested too deeply",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_in_it_is_one_line(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_season_file(path)
    assert str(caught.value).startswith(f"{path}: {WRONG[text]}")
    assert "\n" not in str(caught.value)


def test_paths_are_as_seen_from_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'season = "S"\ncaptures = "a/b.csv"\nimages_root = "/images"\nledger = "postgresql://db/x"\n'
        '[[predictions]]\nfile = "../p.json"\n'
        '[[exclusions]]\nlist = "x.txt"\nreason = "r"\n[upload]\nlog_dir = "logs"\n',
    )
    said = read_season_file(path)
    assert said.captures == str(tmp_path / "a/b.csv")
    assert said.images_root == "/images"
    assert said.ledger == "postgresql://db/x"
    assert said.predictions[0].file == str(tmp_path.parent / "p.json")
    assert said.exclusions[0].list == str(tmp_path / "x.txt")
    assert said.upload.log_dir == str(tmp_path / "logs")


def commands() -> dict[str, click.Command]:
    """Every verb, also those of two words."""
    context = click.Context(cli)
    found: dict[str, click.Command] = {}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{name} {part}": inner for part, inner in command.commands.items()}
        else:
            found[name] = command
    return found


def test_every_option_that_it_gives_is_there() -> None:
    known = commands()
    for verb, keys in OPTIONS.items():
        assert set(keys) <= {parameter.name for parameter in known[verb].params}, verb
    # What takes everything of a season must be told so by its user.
    assert not {"season"} & (set(OPTIONS["delete"]) | set(OPTIONS["remove"]))


def test_every_key_of_it_is_of_use(tmp_path: Path) -> None:
    keys = {key for table in OPTIONS.values() for key in table.values()}
    by_plan_alone = {"path", "ledger", "endpoint", "predictions", "exclusions"}
    for field in SeasonFile.__struct_fields__:
        inner = getattr(SeasonFile(season="S"), field)
        if isinstance(inner, msgspec.Struct):
            assert {f"{field}.{name}" for name in inner.__struct_fields__} <= keys
        else:
            assert field in keys | by_plan_alone
    given = defaults(SeasonFile(season="S", project_id=3))
    assert given["export"]["manifest"] == {"season": "S"}
    assert given["upload"] == {"season": "S", "project_id": 3}


INIT = (
    "--captures",
    "c.csv",
    "--images-root",
    "i",
    "--attribution",
    'quo"te \\ ü',
    "--license",
    "l",
    "--project-id",
    "5",
)


def test_init_writes_a_file_that_every_verb_can_read(tmp_path: Path, call_ctstate: Any) -> None:
    assert "WLD_S6.toml is written" in call_ctstate("init", "--season", "WLD_S6", *INIT).stdout
    text = (tmp_path / "WLD_S6.toml").read_text()
    assert text.count("#") > 10
    said = read_season_file(tmp_path / "WLD_S6.toml")
    assert (said.season, said.project_id, said.attribution) == ("WLD_S6", 5, 'quo"te \\ ü')
    assert said.ledger == str(tmp_path / "WLD_S6.db")
    before = text
    assert "there is such a file already" in call_ctstate("init", "--season", "WLD_S6", *INIT).error()
    assert (tmp_path / "WLD_S6.toml").read_text() == before
    # What stands there as a comment can be taken in as it is.
    taken = re.sub(r"(?m)^# (\w+ = \S.*|\[\[.*)$", r"\1", text)
    assert taken != text
    assert set(tomllib.loads(taken)) >= {"predictions", "exclusions", "images", "upload", "cluster"}
    (tmp_path / "taken.toml").write_text(taken)
    assert read_season_file(tmp_path / "taken.toml").cluster.workers == 4


def test_init_without_a_terminal_says_what_is_missing(tmp_path: Path, run_ctstate: Any) -> None:
    assert run_ctstate("init", "--season", "S").error().startswith("Error: not said: --captures, --images-root")
    assert list(tmp_path.glob("*.toml")) == []
    assert "cannot be the name of a file" in run_ctstate("init", "--season", "../x", *INIT).error()


def test_the_schema_is_of_the_files(call_ctstate: Any) -> None:
    made = json.loads(call_ctstate("init", "--schema").stdout)
    assert made == json.loads(json.dumps(schema()))
    fields = made["$defs"]["SeasonFile"]["properties"]
    assert set(fields) == set(SeasonFile.__struct_fields__) - {"path"}
