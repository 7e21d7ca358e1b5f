"""A new season's file (`ctstate init`), with comments."""

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctstate.errors import InputError, UsageError
from ctstate.formats.season_file import read_season_file

_TEMPLATE = """\
# A season for ctstate: every verb called in this folder takes what stands here; options on the command line win.
# Paths are as seen from this file. `ctstate plan` says what is to be done, `ctstate run` does it.

season = {season}
ledger = {ledger}

# What there is: the captures CSV, or the datapackage.json of a Camtrap DP (captures_format = "camtrap-dp").
captures = {captures}
images_root = {images_root}

# For every subject's metadata.
attribution = {attribution}
license = {license}

# On Zooniverse. The password file is an INI file: [zooniverse], username = ..., password = ...
project_id = {project_id}
workflow_id = {workflow_id}
password_file = {password_file}

# Predictions, as many as there are:
# [[predictions]]
# file = "megadetector.json"

# What is not to be shown, and why; a condition on the view v_captures, or a list of captures:
# [[exclusions]]
# where = "machine_person > 0.5"
# reason = "people"

# Each batch becomes a subject set: number = 5, or max_size = 10000.
[batches]
{max_size}

[images]
# quality = 50
# max_pixels = 1440
# skip_broken = true

[upload]
# processes = 3
# connections = 8
log_dir = "logs"

# For `ctstate run --submit` and `ctstate submit`:
[cluster]
# workers = 4
# time = "23:00:00"
# partition = "batch"
"""

NEEDED = ("season", "captures", "images_root", "attribution", "license", "project_id")
"""Keys without which a season cannot come to its end."""


def init(folder: str | os.PathLike[str], said: Mapping[str, Any]) -> Path:
    """Write a season's file; return its path.

    Args:
        folder: gets `SEASON.toml`.
        said: what is known: keys of the file, and `max_size` of the batches.

    Raises:
        UsageError: one of NEEDED is missing, or the season's name cannot be a file's.
        InputError: there is such a file, it cannot be written, or a value cannot be.
    """
    missing = [key for key in NEEDED if not said.get(key)]
    if missing:
        raise UsageError(f"not said: {', '.join('--' + key.replace('_', '-') for key in missing)}")
    season = str(said["season"])
    if season != os.path.basename(season) or season.startswith(".") or "\0" in season:
        raise UsageError(f"{season!r} cannot be the name of a file: such as WLD_S6")
    values = {"ledger": f"{season}.db", **{key: value for key, value in said.items() if value is not None}}
    size = values.get("max_size")
    values["max_size"] = f"max_size = {size}" if size is not None else "# max_size = 10000"
    text = re.sub(r"(?m)^(\w+) = \{\w+\}$", lambda line: _said(line[1], values.get(line[1])), _TEMPLATE)
    text = text.replace("\n{max_size}\n", f"\n{values['max_size']}\n")
    path = Path(folder) / f"{season}.toml"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path}: there is such a file already; it was left as it is") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        read_season_file(path)
    except InputError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return path


def _said(key: str, value: Any) -> str:
    """Return a line of the file."""
    if value is None:
        return f"# {key} ="
    # A text of JSON is one of TOML, but for a DEL.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
