"""Which key of a season's file is which option of which verb."""

from collections.abc import Mapping
from typing import Any

from ctstate.formats.season_file import SeasonFile

_SEASON = {"season": "season"}
_ACCOUNT = {"project_id": "project_id", "password_file": "password_file"}
_BOTH = {**_SEASON, **_ACCOUNT}
_WORKFLOW = {**_BOTH, "workflow_id": "workflow_id"}
_UPLOAD = {
    **_BOTH,
    "save_quality": "images.quality",
    "max_pixel_of_largest_side": "images.max_pixels",
    "dont_compress_images": "images.unchanged",
    "keep_exif": "images.keep_exif",
    "skip_broken_images": "images.skip_broken",
    "n_processes": "upload.processes",
    "connections": "upload.connections",
    "link_batch_size": "upload.link_batch_size",
    "log_dir": "upload.log_dir",
}  # fmt: skip

_FOLDER = ("gap_seconds", "pattern", "most_images", "name_time", "clock_shifts", "times_from")
_TIMES = ("time_zone", "time_column", "exif_times", "deployments")

EXPORTS = ("captures", "manifest", "speciesnet-instances", "tracker", "uploaded-manifest")

OPTIONS: Mapping[str, Mapping[str, str]] = {
    "manifest": {
        "captures_csv": "captures", "images_root": "images_root", "attribution": "attribution",
        "license": "license", "manifest_id": "season", "format": "captures_format", "encoding": "encoding",
        "metadata_columns": "metadata_columns",
        **{name: name for name in (*_FOLDER, *_TIMES)},
    },
    "predict": _SEASON,
    "sample": {**_SEASON, "most_images": "sample"},
    "batch": {
        **_SEASON, "number_of_batches": "batches.number", "max_batch_size": "batches.max_size",
        "order": "batches.order", "seed": "batches.seed",
    },
    "upload": _UPLOAD,
    "submit": {
        **_UPLOAD, "scheduler": "cluster.scheduler", "workers": "cluster.workers", "at_once": "cluster.at_once",
        "time": "cluster.time", "stop_before": "cluster.stop_before", "max_rounds": "cluster.max_rounds",
        "partition": "cluster.partition", "account": "cluster.account", "mail_user": "cluster.mail_user",
        "mem": "cluster.mem", "cpus": "cluster.cpus", "more": "cluster.options",
    },
    **dict.fromkeys(("adopt", "reconcile", "update-metadata", "verify"), _BOTH),
    **dict.fromkeys(("link", "progress", "unlink"), _WORKFLOW),
    # A season is what these are to take; it must be meant.
    **dict.fromkeys(("delete", "remove"), _ACCOUNT),
    **dict.fromkeys(("sets", "workflows"), _ACCOUNT),
    **dict.fromkeys(("retry", "status"), _SEASON),
    "doctor": _ACCOUNT,
    **{f"export {name}": _SEASON for name in EXPORTS},
}  # fmt: skip
"""For each verb, its parameters that a season's file can give, and by which key."""


def defaults(said: SeasonFile) -> dict[str, dict[str, Any]]:
    """Return what a season's file says, as click takes it: by verb and parameter."""
    found: dict[str, dict[str, Any]] = {}
    for verb, keys in OPTIONS.items():
        place: dict[str, Any] = found
        for word in verb.split():
            place = place.setdefault(word, {})
        place.update({name: said.get(key) for name, key in keys.items() if said.get(key) is not None})
    return found
