"""What `import ctstate` offers, and that the errors are the tree that their module draws."""

import inspect
import pickle
import re
import tomllib
from pathlib import Path

import pytest

import ctstate
from ctstate import errors

SURFACE = [
    "__version__",
    "AllowanceError",
    "Backoff",
    "Batch",
    "BrokenImageError",
    "Capture",
    "Credentials",
    "CtstateError",
    "FencedError",
    "IllegalMoveError",
    "ImageOptions",
    "InputError",
    "Ledger",
    "LedgerBehindError",
    "LedgerError",
    "LedgerLostError",
    "LedgerMissingError",
    "LedgerVersionError",
    "LoginError",
    "MissingImageError",
    "NotFoundError",
    "PredictionFile",
    "RequestRefusedError",
    "Season",
    "Selection",
    "State",
    "StopSignal",
    "StrangeReplyError",
    "UnavailableError",
    "UploadOptions",
    "UsageError",
    "WrongAddressError",
    "Zooniverse",
    "ZooniverseError",
    "accept",
    "adopt",
    "batch",
    "delete",
    "exclude",
    "export_captures",
    "export_manifest",
    "export_tracker",
    "history",
    "import_manifest",
    "import_tracker",
    "include",
    "link",
    "manifest",
    "plan_deletion",
    "plan_removal",
    "plan_upload",
    "predict",
    "read_credentials",
    "reconcile",
    "remove",
    "retry",
    "sample",
    "status",
    "survey",
    "unlink",
    "update_metadata",
    "upload",
    "verify",
]


def test_the_surface() -> None:
    """A name that comes or goes is a decision, and is made here."""
    assert ctstate.__all__ == SURFACE
    for name in SURFACE:
        assert getattr(ctstate, name) is not None
    with pytest.raises(AttributeError):
        ctstate.nothing  # noqa: B018
    namespace: dict[str, object] = {}
    exec("from ctstate import *", namespace)
    assert set(SURFACE) <= namespace.keys()


def test_all_errors_are_public() -> None:
    tree = {
        name for name, it in vars(errors).items() if inspect.isclass(it) and issubclass(it, errors.CtstateError)
    }
    assert tree <= set(SURFACE)


def test_the_version_is_said_in_one_place() -> None:
    root = Path(__file__).resolve().parents[2]
    said = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in said["project"]["dynamic"]
    source = (root / said["tool"]["hatch"]["version"]["path"]).read_text(encoding="utf-8")
    assert re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE) == [ctstate.__version__]


def test_the_verbs_shapes_take_what_scripts_were_written_against() -> None:
    import click

    from ctstate.commands import cli

    context = click.Context(cli)
    expected = {
        "manifest": {
            "--images-root", "--attribution", "--license", "--manifest-id", "--metadata-column", "--update",
        },
        "batch": {"--number-of-batches", "--max-batch-size", "--seed", "--order", "--season"},
        "upload": {
            "--project-id", "--password-file", "--batch", "--season", "--subject-set-id", "--subject-set-name",
            "--image-root-path", "--save-quality", "--max-pixel-of-largest-side", "--n-processes",
            "--dont-compress-images", "--link-batch-size", "--connections", "--log-dir", "--log-filename",
            "--limit", "--dry-run", "--keep-exif", "--skip-broken-images",
        },
        "status": {"--json", "--season", "--batch"},
        "history": {"--json"},
        "retry": {"--season", "--batch"},
        "sql": {"--json", "--csv"},
        "reconcile": {"--project-id", "--password-file", "--apply", "--season", "--batch"},
        "verify": {"--project-id", "--password-file", "--season", "--batch"},
        "demo": set(),
        "sandbox": set(),
    }  # fmt: skip
    for verb, options in expected.items():
        command = cli.get_command(context, verb)
        assert command is not None
        assert options <= {name for parameter in command.params for name in parameter.opts}, verb
        assert command.get_short_help_str(), verb


def classes() -> dict[str, type]:
    return {
        name: thing
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, Exception)
    }


def test_the_errors_are_the_tree_that_their_module_draws() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([│ ├└─]*)(\w+Error)\b", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = path[depth - 1] if depth else "Exception"
    assert drawn == {name: thing.__bases__[0].__name__ for name, thing in classes().items()}


@pytest.mark.parametrize("name", sorted(classes()))
def test_errors_travel_between_processes(name: str) -> None:
    thing = classes()[name]
    error = thing("a.jpg", "cut off") if issubclass(thing, errors.BrokenImageError) else thing("one line")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is thing
    assert str(again) == str(error)
