"""Image paths as other programs write them -> image paths as the ledger has them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SLASHES = re.compile(r"(?<!:)/{2,}")


def normalised(path: str) -> str:
    """Return a path with `/` between its parts, each once, and without a leading `./`."""
    path = path.strip().replace("\\", "/")
    if "//" in path:
        path = _SLASHES.sub("/", path)
    while path.startswith("./"):
        path = path[2:]
    return path


@dataclass(frozen=True)
class PathRule:
    """How a file's image paths become the ledger's.

    Attributes:
        strip_prefix: taken from the front of paths that begin with it.
        base_folder: put in front of what then is relative.
        roots: folders of which one may stand in front (`season.images_root`); the ledger's paths lie below them.
    """

    strip_prefix: str = ""
    base_folder: str = ""
    roots: Sequence[str] = ()

    def apply(self, path: str) -> str:
        """Return the path to look for in the ledger."""
        path = normalised(path)
        prefix = normalised(self.strip_prefix) if self.strip_prefix else ""
        if prefix and path.startswith(prefix) and (prefix.endswith("/") or path[len(prefix) :].startswith("/")):
            path = path[len(prefix) :].lstrip("/")
        elif path.startswith("/"):
            for root in self.roots:
                if path.startswith(root.rstrip("/") + "/"):
                    path = path[len(root.rstrip("/")) + 1 :]
                    break
        if self.base_folder and not path.startswith("/"):
            path = f"{normalised(self.base_folder).rstrip('/')}/{path}"
        return path
