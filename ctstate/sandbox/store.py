"""The sandbox's SQLite file: every change is committed here before it is answered.

The server is the only one to open it, holds it all in memory and only writes. `synchronous` is off: what was
acknowledged survives the death of the process, not that of the machine.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctstate.errors import InputError

TABLES: dict[str, tuple[str, ...]] = {
    "meta": ("name", "value"),
    "users": ("id", "login", "password", "subject_limit", "banned", "created"),
    "tokens": ("access", "refresh", "user", "created", "expires", "replaces", "revoked"),
    "sessions": ("cookie", "user"),
    "projects": ("id", "owner", "display_name", "slug", "created", "updated", "version"),
    "collaborators": ("project", "user"),
    "workflows": ("id", "project", "display_name", "active", "created", "updated", "version", "sets"),
    "subject_sets": (
        "id",
        "project",
        "display_name",
        "metadata",
        "created",
        "updated",
        "version",
        "count",
        "deleted",
    ),
    "subjects": (
        "id",
        "project",
        "uploader",
        "external_id",
        "metadata",
        "created",
        "updated",
        "version",
        "deactivated",
    ),
    "images": ("id", "subject", "position", "mime", "key", "url", "size", "md5", "content_type", "updated"),
    "members": ("id", "set", "subject", "priority", "created"),
    "statuses": ("id", "workflow", "subject", "classifications", "retired", "reason", "created", "updated"),
    "doomed": ("subject", "due"),
    "incomplete": ("id", "at", "subject", "set", "how", "missing"),
}
"""Columns of each table; the first is the primary key (both, where there are just two of `collaborators`)."""

JSON_COLUMNS = {"metadata", "sets", "missing"}
_PAIRS = {"collaborators"}


def _create(table: str, columns: tuple[str, ...]) -> str:
    names = ", ".join(f'"{c}"' for c in columns)
    if table in _PAIRS:
        return f'CREATE TABLE IF NOT EXISTS "{table}" ({names}, PRIMARY KEY ({names})) WITHOUT ROWID'
    kind = "INTEGER PRIMARY KEY" if columns[0] in ("id", "subject") else "PRIMARY KEY"
    rest = "".join(f', "{c}"' for c in columns[1:])
    return f'CREATE TABLE IF NOT EXISTS "{table}" ("{columns[0]}" {kind}{rest})'


_SAVE = {
    table: 'INSERT OR REPLACE INTO "{}" ({}) VALUES ({})'.format(
        table, ", ".join(f'"{c}"' for c in columns), ", ".join("?" * len(columns))
    )
    for table, columns in TABLES.items()
}


class Store:
    """The open file.

    Args:
        path: the SQLite file; it is made where there is none.

    Raises:
        InputError: it is in use by another sandbox, or no sandbox's file.
    """

    def __init__(self, path: Path) -> None:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # it holds the accounts
            self._db = sqlite3.connect(str(path), isolation_level=None, timeout=2.0, check_same_thread=False)
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute("BEGIN IMMEDIATE")
            for table, columns in TABLES.items():
                self._db.execute(_create(table, columns))
            self._db.execute("COMMIT")
        except OSError as e:
            raise InputError(f"{path}: cannot open the sandbox's state ({e.strerror})") from e
        except sqlite3.OperationalError as e:
            hint = "another sandbox is using it" if "locked" in str(e) else str(e)
            raise InputError(f"{path}: cannot open the sandbox's state ({hint})") from e
        except sqlite3.DatabaseError as e:
            raise InputError(f"{path}: not a sandbox's state ({e})") from e
        self._depth = 0

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of `table` by primary key, with JSON columns read."""
        columns = TABLES[table]
        found = self._db.execute(
            'SELECT {} FROM "{}" ORDER BY 1'.format(", ".join(f'"{c}"' for c in columns), table)
        )
        out = []
        for values in found:
            row = dict(zip(columns, values, strict=True))
            for name in JSON_COLUMNS.intersection(columns):
                row[name] = json.loads(row[name])
            out.append(row)
        return out

    def save(self, table: str, *items: Any) -> None:
        """Write `items` (objects with attributes named like the columns, or tuples) over what was there."""
        columns = TABLES[table]
        rows = [
            item
            if isinstance(item, tuple)
            else [
                json.dumps(getattr(item, c), ensure_ascii=False) if c in JSON_COLUMNS else getattr(item, c)
                for c in columns
            ]
            for item in items
        ]
        if len(rows) == 1:
            self._db.execute(_SAVE[table], rows[0])
        elif rows:
            with self.together():
                self._db.executemany(_SAVE[table], rows)

    def remove(self, table: str, *keys: Any) -> None:
        """Delete the rows with these primary keys."""
        with self.together():
            self._db.executemany(f'DELETE FROM "{table}" WHERE "{TABLES[table][0]}" = ?', [(k,) for k in keys])

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside is committed at the end, or not at all."""
        if self._depth:
            yield
            return
        self._db.execute("BEGIN")
        self._depth = 1
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        else:
            self._db.execute("COMMIT")
        finally:
            self._depth = 0

    def close(self) -> None:
        """Close the file."""
        self._db.close()
