"""How a folder of images becomes captures (`ctstate manifest FOLDER`), or a captures CSV to look through first."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ctstate.errors import InputError, UsageError
from ctstate.formats import json_stream
from ctstate.formats.camtrap_dp import GAP_SECONDS
from ctstate.formats.image_folder import ImageFolder, NameTime, Pattern, read_shifts, times_of
from ctstate.formats.paths import PathRule
from ctstate.images.cores import usable_cores
from ctstate.verbs.manifest.checks import check_manifest_id

LONGEST_GAP_S = 366 * 86400


@dataclass(frozen=True)
class FolderOptions:
    """How a folder of images becomes captures; see `ctstate.formats.image_folder`.

    Attributes:
        pattern: which parts of a path are site and roll.
        gap_seconds, most_images: which images are one capture.
        name_time: how a file's name tells the time where EXIF does not.
        clock_shifts: a table of cameras whose clock was wrong.
        times_from: a file of MegaDetector's with a `datetime` of each image, so that none need be opened.
        processes: that open files.
    """

    pattern: str = "{site}/{roll}/**"
    gap_seconds: float = GAP_SECONDS
    most_images: int | None = None
    name_time: str | None = None
    clock_shifts: str | os.PathLike[str] | None = None
    times_from: str | os.PathLike[str] | None = None
    processes: int = field(default_factory=usable_cores)

    def reader(self, folder: str | os.PathLike[str], season: str) -> ImageFolder:
        """Return the folder's captures, to be read.

        Raises:
            UsageError: no such folder, or an option that makes no sense.
            InputError: a table that is none.
        """
        check_manifest_id(season)
        if "#" in season:
            raise UsageError(f"--manifest-id {season!r}: a '#' parts season, site and roll in capture ids")
        if not 0 <= self.gap_seconds <= LONGEST_GAP_S:
            raise UsageError(f"--gap-seconds must be between 0 and {LONGEST_GAP_S}, not {self.gap_seconds}")
        if self.most_images is not None and self.most_images < 1:
            raise UsageError(f"--most-images must be 1 or more, not {self.most_images}")
        root = os.path.realpath(folder)
        if not os.path.isdir(root):
            raise UsageError(f"{os.fspath(folder)}: no such folder")
        times: Iterable[tuple[str, str]] = ()
        if self.times_from is not None:
            times = times_of(json_stream.top_level(self.times_from, "images"), PathRule(roots=[root]).apply)
        return ImageFolder(
            root,
            season,
            Pattern(self.pattern),
            gap_seconds=self.gap_seconds,
            most_images=self.most_images,
            name_time=NameTime(self.name_time) if self.name_time is not None else None,
            shifts=read_shifts(self.clock_shifts) if self.clock_shifts is not None else (),
            times=times,
            processes=self.processes,
        )


def folder_to_csv(
    folder: str | os.PathLike[str], options: FolderOptions, *, manifest_id: str, file: str | os.PathLike[str]
) -> int:
    """Write the captures of a folder of images as a cleaned captures CSV, to be looked through by a person.

    Returns:
        how many images are in it.

    Raises:
        InputError, UsageError: as for `load_folder`; or the file cannot be written.
    """
    reader = options.reader(folder, manifest_id)
    beside = Path(f"{os.fspath(file)}.{os.getpid()}.part")
    try:
        with beside.open("x", encoding="utf-8", newline="") as stream:
            count = reader.write_csv(stream)
        beside.replace(file)
    except OSError as error:
        raise InputError(f"{os.fspath(file)}: cannot be written ({error.strerror})") from None
    finally:
        beside.unlink(missing_ok=True)
    return count
