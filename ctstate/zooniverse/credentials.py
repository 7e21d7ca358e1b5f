"""User name and password, from where users have them (docs/legacy-formats.md, section 8)."""

import configparser
import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ctstate.errors import InputError, UsageError

MOST_BYTES = 100_000
"""Of a file that holds a user name and a password."""


@dataclass(frozen=True)
class Credentials:
    """A Zooniverse account."""

    username: str
    password: str = field(repr=False)


def read_credentials(password_file: str | os.PathLike[str] | None = None) -> Credentials:
    """Return the account to log in with.

    Args:
        password_file: an INI file with `username` and `password` in its section `[zooniverse]`. Without one:
            PANOPTES_USERNAME and PANOPTES_PASSWORD, then the official CLI's `~/.panoptes/config.yml`.

    Raises:
        InputError: the file is not there or not what it should be.
        UsageError: nothing says which account.
    """
    if password_file is not None:
        return _from_ini(Path(os.path.expanduser(password_file)))
    username, password = os.environ.get("PANOPTES_USERNAME"), os.environ.get("PANOPTES_PASSWORD")
    if username and password:
        return Credentials(username, password)
    config = Path(os.path.expanduser("~/.panoptes/config.yml"))
    if config.is_file():
        values = _plain_yaml(config)
        if values.get("username") and values.get("password"):
            return Credentials(values["username"], values["password"])
    raise UsageError("no account: give --password-file, or set PANOPTES_USERNAME and PANOPTES_PASSWORD")


def _from_ini(path: Path) -> Credentials:
    parser = configparser.ConfigParser(interpolation=None)  # passwords may hold %
    example = "it needs a section [zooniverse] with the lines `username = ...` and `password = ...`"
    try:
        parser.read_string(_text_of(path))
    except FileNotFoundError:
        raise InputError(f"password file {path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"password file {path}: cannot be read ({error})") from None
    except configparser.Error:
        raise InputError(f"password file {path}: not an INI file; {example}") from None
    username = parser.get("zooniverse", "username", fallback="").strip()
    password = parser.get("zooniverse", "password", fallback="").strip()
    if not username or not password:
        raise InputError(f"password file {path}: {example}")
    return Credentials(username, password)


def _text_of(path: Path) -> str:
    """Return what a small file says; it may be a pipe (from a password store), but no device that never ends."""
    with path.open("rb") as file:
        if stat.S_ISCHR(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is a device")
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    return data.decode("utf-8-sig")


def _plain_yaml(path: Path) -> dict[str, str]:
    # The official CLI writes three plain `key: value` lines; a YAML library would be a dependency for those.
    values = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values[key.strip()] = _plain_scalar(value.strip())
    return values


# YAML's \xNN and \UNNNNNNNN are all that JSON does not know of what YAML's writer writes.
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|U([0-9A-Fa-f]{8})|.)")


def _as_json(escape: re.Match[str]) -> str:
    if escape[1]:
        return f"\\u00{escape[1]}"
    return chr(int(escape[2], 16)) if escape[2] else escape[0]


def _plain_scalar(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == "'":
        return value[1:-1].replace("''", "'")
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return str(json.loads(_ESCAPE.sub(_as_json, value)))
        except ValueError:
            return value[1:-1]
    return value
