"""A data manager pastes the old scripts' options: they are understood, and told how they are spelled now."""

import json
from pathlib import Path
from typing import Any

import pytest

from ctstate.commands import cli
from ctstate.commands.old_spellings import BY_MANIFEST, NOT_NEEDED, RENAMED, spell_anew
from ctstate.commands.root import VERBS


@pytest.fixture
def season(season_csv: Any, row: Any) -> Any:
    season_csv([row(number) for number in range(1, 5)])
    return season_csv


def test_a_season_made_and_split_with_the_words_of_the_old_scripts(
    season: Any, call_ctstate: Any, ask: Any
) -> None:
    made = call_ctstate(
        "manifest", "--captures_csv", str(season.csv), "--output_manifest_dir", "Manifests/",
        "--images_root_path", str(season.root), "--log_dir", "logs/", "--log_filename", "TST_S1_generate",
        "--manifest_id", "TST_S1", "--attribution", "A", "--license", "L",
    )  # fmt: skip
    assert made.code == 0, made
    assert made.stderr.splitlines() == [
        "Old spelling: --captures_csv is now an argument without a name; --images_root_path is now --images-root; "
        "--manifest_id is now --manifest-id; not needed: --output_manifest_dir (the ledger is the manifest; "
        "`ctstate export manifest` writes one); not needed: --log_dir, --log_filename (the ledger keeps what was "
        "done: see `ctstate runs`)."
    ]
    split = call_ctstate("batch", "--manifest=Manifests/TST_S1__complete__manifest.json", "--max_batch_size=2")
    assert (split.code, len(split.stderr.splitlines())) == (0, 1)
    assert "--max_batch_size is now --max-batch-size" in split.stderr
    assert ask("SELECT name FROM batch ORDER BY id") == [("batch_1",), ("batch_2",)]
    assert ask("SELECT images_root FROM season") == [(str(season.root),)]


def test_predictions_with_old_words(season: Any, call_ctstate: Any, tmp_path: Path, ask: Any) -> None:
    call_ctstate(*season.arguments())
    file = tmp_path / "empty.json"
    file.write_text(
        json.dumps(
            {
                "TST_S1#B04#1#1": {
                    "predictions_top": {"is_blank": "1"},
                    "confidences_top": {"is_blank": "0.9"},
                    "aggregated_pred": {"is_blank": {"0": "0.1", "1": "0.9"}},
                }
            }
        )
    )
    done = call_ctstate(
        "predict", "--manifest", "TST_S1__complete__manifest.json", "--predictions_empty", str(file)
    )
    assert done.code == 0, done
    assert done.stderr == "Old spelling: --manifest is now --season TST_S1; --predictions_empty is now --empty.\n"
    assert ask("SELECT count(*) FROM prediction") == [(1,)]


@pytest.mark.parametrize(
    ("verb", "words", "now"),
    [
        (
            "upload",
            "--manifest M/WLD_S6__batch_2__manifest.json --project_id 593 --password_file p --dont_compress_images",
            "--season WLD_S6 --batch batch_2 --project-id 593 --password-file p --dont-compress-images",
        ),
        (
            "upload",
            "--save_quality 50 --max_pixel_of_largest_side 1 --subject_set_id=7 --image_root_path r",
            "--save-quality 50 --max-pixel-of-largest-side 1 --subject-set-id=7 --image-root-path r",
        ),
        ("submit", "--upload_batch_size 100 -- --some_flag", "--link-batch-size 100 -- --some_flag"),
        ("verify", "--project_id 5", "--project-id 5"),
        ("exclude", "--reason --whole_captures --where x_y=1", "--reason --whole_captures --where x_y=1"),
        ("status", "--not_there 1", "--not_there 1"),
        ("upload", "--project-id 5 --log-dir my_logs", "--project-id 5 --log-dir my_logs"),
        ("upload", "--project_id", "--project-id"),
    ],
)  # fmt: skip
def test_how_it_is_spelled_now(verb: str, words: str, now: str) -> None:
    command = cli.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    made, told = spell_anew(verb, command, words.split())
    assert " ".join(made) == now
    assert bool(told) == (words != now)


def test_a_manifest_whose_name_says_nothing(call_ctstate: Any) -> None:
    refused = call_ctstate("upload", "--manifest", "my.json", "--project_id", "5")
    assert (refused.code, refused.error()) == (
        2,
        "Error: --manifest my.json: its name is not ID__BATCH__manifest.json; say --season and --batch instead",
    )


def test_no_help_shows_them(call_ctstate: Any) -> None:
    for verb in VERBS:
        assert "_" not in "".join(
            word for word in call_ctstate(verb, "--help").stdout.split() if word.startswith("--")
        )


def test_each_leads_to_an_option_that_is_there() -> None:
    for table in (RENAMED, BY_MANIFEST, NOT_NEEDED):
        for verb, names in table.items():
            command = cli.get_command(None, verb)  # type: ignore[arg-type]
            assert command is not None
            options = {name for parameter in command.params for name in parameter.opts}
            new = names.values() if table is RENAMED else names if table is BY_MANIFEST else ()
            assert set(filter(None, new)) <= options  # type: ignore[arg-type]
            assert not set(names) & options or table is BY_MANIFEST
