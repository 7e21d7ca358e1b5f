"""`--json`: every verb that reports has it, and prints what its type and its schema say."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import click
import msgspec
import pytest

from ctstate.commands import cli
from ctstate.commands.root import VERBS
from ctstate.commands.schemas import ANSWERS, SILENT, answer_type
from ctstate.sandbox import SandboxProcess
from ctstate.verbs.demo import make_season
from ctstate.verbs.status import STATES
from tests.builders.image_files import frame, save


def commands(parent: click.Context, name: str) -> dict[str, click.Command]:
    """Return a verb, or the verbs below it, by their words."""
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    assert command is not None
    if not isinstance(command, click.Group):
        return {name: command}
    context = click.Context(command, parent, name)
    return {f"{name} {word}": commands(context, word)[word] for word in command.list_commands(context)}


def test_every_verb_has_it_or_a_reason_not_to() -> None:
    root = click.Context(cli, info_name="ctstate")
    found = {words: command for name in VERBS for words, command in commands(root, name).items()}
    with_it = {words for words, command in found.items() if any("--json" in p.opts for p in command.params)}
    assert with_it == set(ANSWERS)
    assert set(found) - with_it == set(SILENT)


def test_a_status_row_has_every_state() -> None:
    assert set(STATES) < set(answer_type("status")[0].__struct_fields__)


def fields(kind: Any) -> set[str] | None:
    """Return the names of a type's fields; None where it may have any."""
    if dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind)}
    if hasattr(kind, "_fields"):
        return set(kind._fields)
    return set(kind.__struct_fields__) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def as_path(kind: type, value: Any) -> Any:
    return kind(value)


class Answers:
    """Calls verbs with `--json` and holds what they print against its type."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self.seen: set[str] = set()

    def __call__(self, verb: str, *arguments: str, code: int = 0, before: tuple[str, ...] = ()) -> Any:
        done = self._call(*before, *verb.split(), *arguments, "--json")
        assert done.code == code, (verb, done)
        answer = json.loads(done.stdout)
        kind, listed = answer_type(verb)
        for one in answer if listed else [answer]:
            kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
            fitting = [each for each in kinds if fields(each) in (None, set(one))]
            assert len(fitting) == 1, verb  # nothing is missing, nothing is there besides
            values = list(one.values()) if hasattr(fitting[0], "_fields") else one  # msgspec reads these as lists
            msgspec.convert(values, fitting[0], dec_hook=as_path)  # every value is of its type
        assert answer or not listed, f"{verb}: an empty list shows nothing"
        self.seen.add(verb)
        return answer


def test_every_verb_answers_as_its_type_says(
    call_ctstate: Any, sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Answers(call_ctstate)
    files = make_season(tmp_path / "files", 8, size=(64, 48))
    root = str(tmp_path / "files" / "images")
    for name, value in {
        "PANOPTES_ENDPOINT": sandbox.url,
        "PANOPTES_USERNAME": sandbox.login,
        "PANOPTES_PASSWORD": sandbox.password,
    }.items():
        monkeypatch.setenv(name, value)
    project = ("--project-id", str(sandbox.project_id))
    workflow = ("--workflow-id", str(sandbox.workflow_id))

    read = ask("manifest", str(files), "--images-root", root, "--attribution", "a", "--license", "l")
    season, first = read["season"], call_ctstate("sql", "--csv", "SELECT min(capture_id) FROM v_captures").stdout
    capture = first.splitlines()[1].strip('"')
    (tmp_path / "p.csv").write_text(f'capture_id,machine_person\n"{capture}",0.9\n', encoding="utf-8")
    assert ask("predict", "p.csv")["changed"] == 1
    assert ask("exclude", "--where", "machine_person > 0.5", "--reason", "people")["captures"] == 1
    assert ask("include", "--where", "excluded = 'people'")["captures"] == 1
    assert ask("sample", "2")["most_images"] == 2
    assert sum(ask("batch", "--number-of-batches", "2")["sizes"].values()) == read["captures_new"]
    ask("doctor", *project)
    said = ("--settle-seconds", "1", *project)
    assert ask("upload", "--dry-run", *said)["done"] is None
    done = ask("upload", *said)
    assert done["done"]["uploaded"] == read["captures_new"]
    assert done["left"]["pending"] == 0
    assert [row["uploaded"] for row in ask("status")] == [4, 4]
    assert ask("history", capture)["capture"]["state"] == "uploaded"
    assert ask("sql", "SELECT count(*) AS n FROM v_captures") == [{"n": 8}]
    ask("runs", "--all")
    assert ask("link", "--batch", "batch_1", *workflow)["changed"]
    assert ask("workflows")[0]["sets"]
    ask("sets")
    ask("progress")
    assert ask("unlink", "--batch", "batch_1", *workflow)["changed"]
    assert ask("verify")["ok"]
    assert ask("reconcile")["applied"] is None
    (tmp_path / "p.csv").write_text(f'capture_id,machine_person\n"{capture}",0.4\n', encoding="utf-8")
    ask("predict", "p.csv")
    assert ask("update-metadata")["updated"] == 1
    ask("export captures", "-o", "c.csv")
    ask("export speciesnet-instances", "-o", "i.json")
    ask("export manifest")
    tracker = ask("export tracker", "--batch", "batch_1")["file"]
    uploaded = ask("export uploaded-manifest", "--batch", "batch_1")["file"]
    taken = ask("remove", "--site", "B04", "--reason", "test", "--yes")
    assert len(taken["todo"]) == taken["carried_out"]["done"] > 0
    assert ask("delete", capture, "--reason", "test", "--dry-run")["carried_out"] is None
    assert ask("retry", "--state", "removed")["captures"] == len(taken["todo"])
    assert ask("stop", "--all")["asked"] == []
    other = ("--ledger", "other.db")
    ask("import manifest", uploaded, "--images-root", root, before=other)
    ask("import tracker", tracker, before=other)
    assert ask("adopt", *project, before=other)["season"] == season
    assert ask("copy", "other.db", "moved.db")["captures"] == 4
    written = call_ctstate("init", "--season", season, "--captures", str(files), "--images-root", root,
                           "--attribution", "a", "--license", "l", *project)  # fmt: skip
    assert written.code == 0, written
    assert ask("plan")["steps"]
    assert ask("backup")["captures"] > 0
    assert ask("report", "-o", "season.html")["bytes"] > 10_000
    assert ask.seen == set(ANSWERS)


def test_a_folder_s_csv_is_told_of_as_an_export_is(call_ctstate: Any, tmp_path: Path) -> None:
    (tmp_path / "images" / "B04" / "R1").mkdir(parents=True)
    for number in range(3):
        save(tmp_path / "images" / "B04" / "R1" / f"IMG_20260603_0{number}0000.JPG", frame(64, 48))
    said = (
        "--attribution",
        "a",
        "--license",
        "l",
        "--manifest-id",
        "F_S1",
        "--csv",
        "found.csv",
        "--json",
        "--name-time",
        "IMG_%Y%m%d_%H%M%S*",
    )
    done = call_ctstate("manifest", str(tmp_path / "images"), *said)
    assert done.code == 0, done
    answer = json.loads(done.stdout)
    assert set(answer) == fields(answer_type("export captures")[0])
    assert answer["file"] == "found.csv"
    assert answer["count"] == len((tmp_path / "found.csv").read_text(encoding="utf-8").splitlines()) - 1 == 3


def test_a_plan_that_nobody_sees_is_not_agreed_to(
    call_ctstate: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    refused = call_ctstate("--ledger", str(world.path), "remove", "--site", "B04", "--reason", "x", "--json")
    assert "--yes" in refused.error()
    assert (
        call_ctstate("--ledger", str(world.path), "sql", "SELECT * FROM v_captures WHERE state='removed'").code == 0
    )
