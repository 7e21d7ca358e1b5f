"""Options as the old scripts spelled them (docs/legacy.md): understood, not shown in any help.

The words of a call are spelled anew before click reads them; one line on the error stream says how.
"""

from collections.abc import Iterator, Mapping, Sequence

import click

from ctstate.capture import COMPLETE
from ctstate.errors import UsageError

ARGUMENT = ""

_PREDICTIONS = {"--predictions_empty": "--empty", "--predictions_species": "--species"}
RENAMED: Mapping[str, Mapping[str, str]] = {
    "manifest": {"--captures_csv": ARGUMENT, "--images_root_path": "--images-root"},
    "predict": {**_PREDICTIONS, **{old.replace("_", "-"): new for old, new in _PREDICTIONS.items()}},
    "batch": {"--split_order": "--order"},
    "upload": {"--upload_batch_size": "--link-batch-size"},
    "submit": {"--upload_batch_size": "--link-batch-size"},
}
"""By verb, what has another name now; ARGUMENT: it is the verb's argument. Of all verbs, `--a_b` is `--a-b`."""

_RUNS = "the ledger keeps what was done: see `ctstate runs`"
_LOGS = {"--log_dir": _RUNS, "--log_filename": _RUNS}
_WRITES = "the ledger is the manifest; `ctstate export manifest` writes one"
NOT_NEEDED: Mapping[str, Mapping[str, str]] = {
    "manifest": {"--output_manifest_dir": _WRITES, **_LOGS},
    "predict": {"--output_file": _WRITES, **_LOGS},
    "batch": _LOGS,
    "upload": {"--output_file": "`ctstate export uploaded-manifest` writes it"},
    "submit": {"--output_file": "`ctstate export uploaded-manifest` writes it"},
}
"""By verb, what is not needed any more, and why: it and its value are passed over."""

BY_MANIFEST: Mapping[str, tuple[str, ...]] = {
    "predict": ("--season", "--batch"),
    "batch": ("--season",),
    "upload": ("--season", "--batch"),
    "submit": ("--season", "--batch"),
}
"""By verb, what the name of the manifest file says that `--manifest` gave."""


def spell_anew(verb: str, command: click.Command, words: Sequence[str]) -> tuple[list[str], str]:
    """Return the words of a call as they are spelled now, and what to tell the user; empty where all are.

    Raises:
        UsageError: a manifest whose name does not say which season and batch it is.
    """
    takes_value = {
        name: not parameter.is_flag
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    renamed, not_needed = RENAMED.get(verb, {}), NOT_NEEDED.get(verb, {})
    made: list[str] = []
    said: dict[str, None] = {}
    passed_over: dict[str, dict[str, None]] = {}
    rest = iter(words)
    for word in rest:
        old, _, given = word.partition("=")
        inline = [given] if "=" in word else []
        if word == "--":
            made += [word, *rest]
        elif word in takes_value:
            made += [word, *_next(rest, takes_value[word])]
        elif old in not_needed:
            inline or _next(rest, True)
            passed_over.setdefault(not_needed[old], {})[old] = None
        elif old == "--manifest" and verb in BY_MANIFEST:
            anew = _of_manifest("".join(inline or _next(rest, True)), BY_MANIFEST[verb])
            made += anew
            said[f"{old} is now {' '.join(anew)}"] = None
        elif renamed.get(old) == ARGUMENT:
            made += inline or _next(rest, True)
            said[f"{old} is now an argument without a name"] = None
        else:
            new = renamed.get(old) or (f"--{old[2:].replace('_', '-')}" if old.startswith("--") else old)
            if old in takes_value or new not in takes_value:
                made.append(word)  # click knows it, or says what is wrong with it
                continue
            made += ["=".join([new, *inline]), *_next(rest, takes_value[new] and not inline)]
            said[f"{old} is now {new}"] = None
    lines = [*said, *(f"not needed: {', '.join(old)} ({why})" for why, old in passed_over.items())]
    return made, f"Old spelling: {'; '.join(lines)}." if lines else ""


def _next(rest: Iterator[str], wanted: bool) -> list[str]:
    """Take the value that follows an option, where it takes one and there is one."""
    value = next(rest, None) if wanted else None
    return [] if value is None else [value]


def _of_manifest(file: str, options: Sequence[str]) -> list[str]:
    from ctstate.formats.legacy_manifest import parse_name  # its readers are of no use to other calls

    name = parse_name(file)
    if name is None:
        wanted = " and ".join(options)
        raise UsageError(f"--manifest {file}: its name is not ID__BATCH__manifest.json; say {wanted} instead")
    words = ["--season", name.manifest_id]
    if "--batch" in options and name.batch != COMPLETE:
        words += ["--batch", name.batch]
    return words
