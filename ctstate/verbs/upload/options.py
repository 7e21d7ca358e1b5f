"""What a person can ask of an upload."""

from dataclasses import dataclass, field

from ctstate.errors import UsageError
from ctstate.images import ImageOptions
from ctstate.images.cores import usable_cores

SETTLE_S = 80.0
"""The server ends its own work on a request after 65 s (docs/panoptes-api.md, section 1); a margin on top."""


@dataclass(frozen=True)
class UploadOptions:
    """What to upload, and how.

    Attributes:
        project_id: the Zooniverse project.
        season: manifest id; may be None where the ledger holds one season.
        batch: name of one batch; None: all of the season.
        subject_set_id: the set to use; refused if its name is not the one expected. Needs one batch.
        subject_set_name: instead of `SEASON_BATCH`. Needs one batch.
        images_root: instead of the folder given to manifest.
        images: how images are made.
        skip_broken_images: leave a broken image out if another remains, instead of failing the capture.
        processes: encoding at the same time; by default as many as there are cores to use.
        connections: to Zooniverse at the same time.
        link_batch_size: subjects put into their set with one request, at most 1,000.
        limit: claim no more captures than this.
        settle: seconds before a lost create is looked for; see SETTLE_S.
    """

    project_id: int
    season: str | None = None
    batch: str | None = None
    subject_set_id: int | None = None
    subject_set_name: str | None = None
    images_root: str | None = None
    images: ImageOptions = field(default_factory=ImageOptions)
    skip_broken_images: bool = False
    processes: int = field(default_factory=usable_cores)
    connections: int = 8
    link_batch_size: int = 200
    limit: int | None = None
    settle: float = SETTLE_S

    def __post_init__(self) -> None:
        for name, value, most in (
            ("--n-processes", self.processes, 256),
            ("--connections", self.connections, 64),
            ("--link-batch-size", self.link_batch_size, 1000),
            ("--limit", self.limit, None),
        ):
            if value is not None and (value < 1 or (most is not None and value > most)):
                raise UsageError(f"{name} must be 1 or more" + (f" and at most {most}" if most else ""))
        if not 0 <= self.settle <= 86_400:
            raise UsageError(f"--settle-seconds must be a number of seconds, not {self.settle}")
        if (self.subject_set_id or self.subject_set_name) and self.batch is None:
            raise UsageError("--subject-set-id and --subject-set-name need --batch: one batch is one subject set")
        if self.subject_set_name is not None and "," in self.subject_set_name:
            raise UsageError("a subject set whose name holds a comma is never found again: choose another name")
