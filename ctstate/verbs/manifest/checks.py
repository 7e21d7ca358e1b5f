"""What a season's name and its folder of images must be, for `ctstate manifest` and `ctstate import`."""

import os

from ctstate.errors import UsageError
from ctstate.formats.reader import short
from ctstate.ledger.seasons import LONGEST_NAME


def check_manifest_id(manifest_id: str) -> None:
    """Refuse an id that cannot name files and subject sets.

    Raises:
        UsageError: it is empty or holds `.`, `__` (docs/legacy-formats.md, section 2), a comma (a set of such a
            name is never found again: docs/panoptes-api.md, section 3), `/` or a control character.
    """
    for part in (".", "__", ",", "/"):
        if part in manifest_id:
            raise UsageError(
                f"manifest id {manifest_id!r} must not contain {part!r}; name another with --manifest-id"
            )
    if not manifest_id.strip() or not manifest_id.isprintable():
        raise UsageError(f"manifest id {manifest_id!r} must be printable text; name another with --manifest-id")
    most = LONGEST_NAME
    if len(manifest_id) > most:
        raise UsageError(f"manifest id {short(manifest_id)} has more than {most} characters")


def real_root(images_root: str | os.PathLike[str] | None) -> str | None:
    """Return the real path of the folder of images.

    Raises:
        UsageError: there is no such folder.
    """
    if images_root is None:
        return None
    root = os.path.realpath(images_root)
    if not os.path.isdir(root):
        raise UsageError(f"--images-root {os.fspath(images_root)}: no such folder")
    return root
