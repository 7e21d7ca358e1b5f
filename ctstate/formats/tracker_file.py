"""The old scripts' upload tracker file: capture ids and subject ids (docs/legacy-formats.md, section 3)."""

import csv
import os
from collections.abc import Iterator

from ctstate.capture import LegacyEntry
from ctstate.errors import InputError
from ctstate.formats.legacy_manifest import subject_id_of


def read_tracker(file: str | os.PathLike[str]) -> Iterator[LegacyEntry]:
    """Yield the captures that a tracker file says are uploaded.

    Raises:
        InputError: it cannot be read, or is no tracker file.
    """
    name = os.fspath(file)
    try:
        with open(name, encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            header = [cell.strip() for cell in next(rows, [])]
            if header[:2] != ["unique_id", "subject_id"]:
                raise InputError(f"{name}, row 1: not an upload tracker file; its header is unique_id,subject_id")
            for number, cells in enumerate(rows, start=2):
                if not any(cell.strip() for cell in cells):
                    continue
                subject_id = subject_id_of(cells[1]) if len(cells) > 1 else None
                if subject_id is None:
                    raise InputError(
                        f"{name}, row {number} ({cells[0]}): no subject id in column 2; nothing was changed"
                    )
                yield LegacyEntry(number, cells[0].strip(), uploaded=True, subject_id=subject_id)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None
    except UnicodeError as error:
        raise InputError(f"{name}: not text in UTF-8 ({error})") from None
    except csv.Error as error:
        raise InputError(f"{name}: not a readable CSV ({error})") from None
