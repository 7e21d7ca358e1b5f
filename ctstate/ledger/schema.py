"""The ledger's tables (SQLAlchemy Core). The migrations make them; a test holds the two against each other.

Times are text, ISO 8601 in UTC with microseconds (`2026-11-23T19:02:43.123456Z`): they sort as text, read the
same in SQLite and PostgreSQL, and need no conversion in R, pandas or a spreadsheet. Times of cameras are as the
camera wrote them, to the second and without a zone (`2026-06-03T05:12:44`): which zone is a fact of the season.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from ctstate.ledger.dialect import Key

NAMING = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMING)

Time = String(27)
CameraTime = String(19)

# One row per fact about the ledger itself: `ledger_id` (part of every subject's external_id), `endpoint`.
meta = Table(
    "meta",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)

state = Table(
    "state",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("rank", Integer, nullable=False),
)

# The legal moves; `source` is '' for a new capture, so that the primary key has no NULL.
transition = Table(
    "transition",
    metadata,
    Column("source", String(16), primary_key=True),
    Column("target", String(16), ForeignKey("state.name"), primary_key=True),
    Column("meaning", Text, nullable=False),
)

# One invocation that writes.
run = Table(
    "run",
    metadata,
    Column("id", Key, primary_key=True),
    Column("verb", String(40), nullable=False),
    Column("arguments", Text, nullable=False),  # JSON object, without passwords
    Column("version", String(40), nullable=False),
    Column("username", String(80), nullable=False),  # of the operating system
    Column("host", String(255), nullable=False),
    Column("host_id", String(120), nullable=False),  # boot and pid namespace: where `pid` means something
    Column("pid", Integer, nullable=False),
    Column("pid_started", String(40), nullable=False),  # tells a pid from its reuse
    Column("slurm_job", String(40)),
    Column("slurm_task", String(40)),
    Column("log_file", Text),
    Column("started_at", Time, nullable=False),
    Column("heartbeat_at", Time, nullable=False),
    Column("beats", Integer, nullable=False, server_default="0"),  # whoever sees it stand still measures by himself
    Column("stop_requested_at", Time),
    Column("ended_at", Time),
    Column("outcome", String(16)),  # done, failed, stopped, lost
    Column("message", Text),
    Column("project_id", Key),
    Column("uploader_id", Key),
    # Up to this id the ledger was held against all subjects of (project, uploader); grows with the run's creates.
    Column("watermark", Key),
    # Whose job slurm_job is, and which start of it: what the scheduler can be asked by. NULL: not known.
    Column("slurm_cluster", Text),
    Column("slurm_user_id", Integer),
    Column("slurm_restarts", Integer),  # grows when the job is requeued under its number
    Index("ix_run_ended_at", "ended_at"),
)

# What the files call a manifest: `name` is the manifest id, usually the season, and begins the set names.
season = Table(
    "season",
    metadata,
    Column("id", Key, primary_key=True),
    Column("name", String(120), nullable=False, unique=True),
    Column("attribution", Text, nullable=False),
    Column("license", Text, nullable=False),
    Column("images_root", Text),  # absolute; NULL: the image paths are absolute
    Column("created_at", Time, nullable=False),
    Column("time_zone", Text),  # of the cameras' clocks, such as Africa/Johannesburg; NULL: not said
    Column("most_images", Integer),  # so many of a capture go up, the others are `sampled`; NULL: all
)

# Where and how long a camera stood, by the season's own zone.
deployment = Table(
    "deployment",
    metadata,
    Column("id", Key, primary_key=True),
    Column("season_id", Key, ForeignKey("season.id"), nullable=False),
    Column("site", String(255), nullable=False),
    Column("roll", String(80), nullable=False),  # '': of all rolls of the site
    Column("starts_at", CameraTime),
    Column("ends_at", CameraTime),
    Column("latitude", Float),  # degrees, WGS84
    Column("longitude", Float),
    Column("camera", Text),
    UniqueConstraint("season_id", "site", "roll"),
)

batch = Table(
    "batch",
    metadata,
    Column("id", Key, primary_key=True),
    Column("season_id", Key, ForeignKey("season.id"), nullable=False),
    Column("name", String(120), nullable=False),  # complete, batch_1, batch_2, ...
    Column("created_at", Time, nullable=False),
    Column("project_id", Key),
    Column("subject_set_id", Key),
    Column("subject_set_name", Text),
    # One run at a time makes the subject set or links to it (the server answers 409 otherwise), as long as it
    # lives.
    Column("lease_run_id", Key, ForeignKey("run.id")),
    Column("lease_token", Integer, nullable=False, server_default="0"),
    Column("lease_until", Time),  # of 0.1.0, unused: SQLite 3.26 cannot drop a column
    UniqueConstraint("season_id", "name"),
)

# A job array of upload workers that `submit` submitted, with all that the next array of its chain is made of.
submission = Table(
    "submission",
    metadata,
    Column("run_id", Key, ForeignKey("run.id"), primary_key=True, autoincrement=False),  # the run `submit`
    Column("chain_id", Key, ForeignKey("run.id"), nullable=False),  # the run that submitted the chain's first array
    Column("follows_id", Key, ForeignKey("run.id")),  # the run that submitted the array before; NULL: the first
    Column("round", Integer, nullable=False),
    Column("idle_rounds", Integer, nullable=False),  # so many rounds before it, in a row, brought nothing
    Column("pending", Integer, nullable=False),  # captures, when it was submitted
    Column("array_job", String(40)),  # the scheduler's number of the array; NULL: it was refused
    Column("link_job", String(40)),  # of the job that follows the array; NULL: none follows
    Column("ended_by", Key, ForeignKey("run.id")),  # the run `stop --all` that ended the chain
    Column("season_id", Key, ForeignKey("season.id"), nullable=False),
    Column("batch", String(120)),  # name; NULL: all batches
    Column("ledger", Text, nullable=False),  # as the jobs name it
    Column("endpoint", Text, nullable=False),
    Column("upload_arguments", Text, nullable=False),  # JSON array of words
    Column("folder", Text, nullable=False),
    Column("log_folder", Text, nullable=False),
    Column("scheduler", String(16), nullable=False),  # slurm, pbs, pbspro
    Column("max_rounds", Integer, nullable=False),
    # What the scheduler is told of each worker.
    Column("job_name", Text, nullable=False),
    Column("workers", Integer, nullable=False),
    Column("at_once", Integer),
    Column("walltime", String(40), nullable=False),
    Column("cpus", Integer),
    Column("memory", Text),
    Column("partition", Text),
    Column("account", Text),
    Column("mail_user", Text),
    Column("requeue", Boolean, nullable=False),
    Column("stop_before", Integer, nullable=False),  # seconds
    Column("more_options", Text, nullable=False),  # JSON array of words
)

capture = Table(
    "capture",
    metadata,
    Column("id", Key, primary_key=True),
    Column("capture_id", String(255), nullable=False, unique=True),  # SEASON#SITE#ROLL#CAPTURE
    Column("season_id", Key, ForeignKey("season.id"), nullable=False),
    Column("season", String(120), nullable=False),  # as the CSV has it: #season of the subject
    Column("site", String(255), nullable=False),
    Column("roll", String(80), nullable=False),
    Column("capture", String(40), nullable=False),  # as the CSV has it: #capture of the subject
    Column("capture_number", Key, nullable=False),  # the same as a number, to sort by
    Column("metadata", Text),  # JSON: further CSV columns for the subject
    Column("state", String(16), ForeignKey("state.name"), nullable=False),
    Column("excluded", Text),  # why it must not be uploaded
    Column("batch_id", Key, ForeignKey("batch.id")),
    Column("subject_id", Key, unique=True),
    # The last run that moved it, when, and why; the triggers copy all three to `event`.
    Column("run_id", Key, ForeignKey("run.id")),
    Column("moved_at", Time, nullable=False),
    Column("reason", Text),
    # Fencing: grows with every claim, and every later write names the value it was given.
    Column("claim", Integer, nullable=False, server_default="0"),
    # A create that was (perhaps) sent and whose outcome is not known: by which run, when, and the highest
    # subject id known by then, above which its subject must lie.
    Column("create_run_id", Key, ForeignKey("run.id")),
    Column("create_sent_at", Time),
    Column("create_floor", Key),
    # Set once the reply is known to be lost: from then on the outcome is found by looking, never by posting.
    Column("ambiguous_at", Time),
    # How its images came to be one capture, where the source does not say (Camtrap DP).
    Column("rule", Text),
    Column("position", Integer),  # in its batch's order; NULL: manifest order
    # Since when its subject may carry other metadata than the ledger; `update-metadata` clears it.
    Column("metadata_pending", Time),
    Column("taken_at", CameraTime),  # the earliest of its images' times
    Column("reason_kind", String(16)),  # FailureKind of the reason; says something while it is failed
    CheckConstraint("subject_id IS NOT NULL OR state NOT IN ('uploaded', 'removed')", name="has_subject"),
    CheckConstraint("batch_id IS NOT NULL OR state IN ('manifested', 'predicted')", name="has_batch"),
    CheckConstraint("run_id IS NOT NULL OR state <> 'uploading'", name="has_run"),
    CheckConstraint("ambiguous_at IS NULL OR subject_id IS NULL", name="ambiguous_or_known"),
    # Outside a live claim, a create without a known outcome is marked: nobody may send it again unlooked.
    CheckConstraint(
        "create_sent_at IS NULL OR ambiguous_at IS NOT NULL OR state = 'uploading'", name="doubt_is_marked"
    ),
    # Serves claiming, `status` and every selection by season, batch and state.
    Index("ix_capture_work", "season_id", "batch_id", "state", "excluded", "id"),
    Index("ix_capture_order", "season_id", "season", "site", "roll", "capture_number"),
)

image = Table(
    "image",
    metadata,
    Column("id", Key, primary_key=True),
    Column("capture_id", Key, ForeignKey("capture.id"), nullable=False),
    Column("rank", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("problem", String(16)),  # excluded, missing, empty, broken, withheld, sampled; NULL: usable
    Column("problem_reason", Text),
    # The bytes that went up: what a HEAD of the image must show.
    Column("md5", String(32)),
    Column("bytes", Integer),
    Column("note", Text),
    Column("arrived_at", Time),
    # What `withheld` covers, for `include` to bring back.
    Column("covered_problem", String(16)),
    Column("covered_reason", Text),
    Column("taken_at", CameraTime),
    Column("taken_text", Text),  # what stood where the time should, and is none
    # Its part in its capture's failing: broken, missing; says something while the capture is failed.
    Column("failure", String(16)),
    Column("failure_reason", Text),
    UniqueConstraint("capture_id", "rank"),
)

prediction = Table(
    "prediction",
    metadata,
    Column("id", Key, primary_key=True),
    Column("capture_id", Key, ForeignKey("capture.id"), nullable=False),
    Column("source", String(40), nullable=False),  # empty, species, megadetector, speciesnet, ...
    Column("metadata", Text, nullable=False),  # JSON: the keys and values the subject carries
    Column("run_id", Key, ForeignKey("run.id")),
    Column("made_at", Time, nullable=False),
    Column("file_id", Integer, ForeignKey("prediction_file.id")),
    # Of the whole capture, 0 to 1; what v_captures shows. NULL: this source does not say.
    Column("machine_animal", Float),
    Column("machine_person", Float),
    Column("machine_vehicle", Float),
    Column("machine_blank", Float),
    Column("machine_species", Text),
    Column("machine_species_confidence", Float),
    UniqueConstraint("capture_id", "source"),
)

# Where in an image a source saw something; JSON: [[category, confidence, x, y, width, height], ...] in fractions.
image_boxes = Table(
    "image_boxes",
    metadata,
    Column("image_id", Key, ForeignKey("image.id"), primary_key=True, autoincrement=False),
    Column("source", String(40), primary_key=True),
    Column("boxes", Text, nullable=False),
    sqlite_with_rowid=False,
)

# A file that predict (or import) read: what made it, and for which captures it was meant.
prediction_file = Table(
    "prediction_file",
    metadata,
    Column("id", Key, primary_key=True),
    Column("season_id", Key, ForeignKey("season.id")),  # NULL: all seasons
    Column("batch", String(120)),  # name; NULL: all batches
    Column("source", String(40), nullable=False),
    Column("format", String(40), nullable=False),
    Column("path", Text, nullable=False),
    Column("threshold", Float),  # below it the run reports nothing, or takes nothing for certain
    Column("settings", Text, nullable=False),  # JSON: detector, classifier, format version, ...
    Column("run_id", Key, ForeignKey("run.id")),
    Column("made_at", Time, nullable=False),
)

# Subjects that files of the old scripts name. A claim, not a fact, until Zooniverse was looked at (checked_at).
legacy_subject = Table(
    "legacy_subject",
    metadata,
    Column("id", Key, primary_key=True),
    Column("capture_id", Key, ForeignKey("capture.id"), nullable=False),
    Column("subject_id", Key),  # NULL: the file says "uploaded" and no number
    Column("subject_set_id", Key),
    Column("subject_set_name", Text),
    Column("upload_time", String(40)),  # as the file has it
    Column("source_file", Text, nullable=False),
    Column("run_id", Key, ForeignKey("run.id")),
    Column("imported_at", Time, nullable=False),
    Column("checked_at", Time),
    Column("outcome", Text),
    UniqueConstraint("capture_id", "subject_id"),
)

# Subjects in this ledger's sets that are no capture's and that a person said are fine there.
accepted_subject = Table(
    "accepted_subject",
    metadata,
    Column("subject_id", Key, primary_key=True, autoincrement=False),
    Column("run_id", Key, ForeignKey("run.id")),
    Column("accepted_at", Time, nullable=False),
)

# Every transition, written by trigger; UPDATE and DELETE are refused.
event = Table(
    "event",
    metadata,
    Column("id", Key, primary_key=True),
    Column("capture_id", Key, ForeignKey("capture.id"), nullable=False),
    Column("at", Time, nullable=False),
    Column("source", String(16)),
    Column("target", String(16), nullable=False),
    Column("run_id", Key),
    Column("subject_id", Key),
    Column("reason", Text),
    Index("ix_event_capture_id", "capture_id"),
    Index("ix_event_run_id_target", "run_id", "target"),
)

# What volunteers did with a capture's subject in a workflow, as `progress` last saw it; 0 classifications where
# Zooniverse has no row. `subject_id`: a capture that is uploaded anew begins anew.
classification_status = Table(
    "classification_status",
    metadata,
    Column("capture_id", Key, ForeignKey("capture.id"), primary_key=True, autoincrement=False),
    Column("workflow_id", Key, primary_key=True, autoincrement=False),
    Column("subject_id", Key, nullable=False),
    Column("classifications_count", Integer, nullable=False),
    Column("retired_at", String(40)),  # as Zooniverse has it
    Column("retirement_reason", String(40)),
    Column("seen_at", Time, nullable=False),
)

# Predictions that a capture with a subject had, by triggers: it carries their keys until `update-metadata`.
replaced_prediction = Table(
    "replaced_prediction",
    metadata,
    Column("id", Key, primary_key=True),
    Column("capture_id", Key, ForeignKey("capture.id"), nullable=False),
    Column("source", String(40), nullable=False),
    Column("metadata", Text, nullable=False),
    Column("replaced_at", Time, nullable=False),
    Index("ix_replaced_prediction_capture_id", "capture_id"),
)

# -- counts and history: what pictures are drawn from ----------------------------------------------------------

# How many captures are where and in which state; kept by triggers (`counts`).
state_count = Table(
    "state_count",
    metadata,
    Column("season_id", Key, primary_key=True, autoincrement=False),
    Column("batch_id", Key, primary_key=True, autoincrement=False),  # 0: in none
    Column("site", String(255), primary_key=True),
    Column("state", String(16), primary_key=True),
    # 1: has a reason in `excluded`; 2: has one, and a subject all the same
    Column("kept_off", Integer, primary_key=True, autoincrement=False),
    Column("in_doubt", Integer, primary_key=True, autoincrement=False),  # 1: `ambiguous_at` is set
    Column("captures", Key, nullable=False),
    sqlite_with_rowid=False,
)

# How many captures came up, or failed, in an hour (UTC, such as 2026-11-23T19); kept by a trigger.
hour_count = Table(
    "hour_count",
    metadata,
    Column("season_id", Key, primary_key=True, autoincrement=False),
    Column("hour", String(13), primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("captures", Key, nullable=False),
    sqlite_with_rowid=False,
)

# What a run did besides moving captures: requests by kind, bytes, seconds of waiting (`run_figures`).
run_figure = Table(
    "run_figure",
    metadata,
    Column("run_id", Key, ForeignKey("run.id"), primary_key=True, autoincrement=False),
    Column("name", String(60), primary_key=True),
    Column("value", Float, nullable=False),
)

# A comparison with Zooniverse: what `verify` or `reconcile` looked at, and what it found.
verification = Table(
    "verification",
    metadata,
    Column("run_id", Key, ForeignKey("run.id"), primary_key=True, autoincrement=False),
    Column("season_id", Key, ForeignKey("season.id"), nullable=False),
    Column("batch", String(120)),  # name; NULL: all
    Column("project_id", Key, nullable=False),
    Column("began_at", Time, nullable=False),
    Column("ended_at", Time, nullable=False),
    Column("part", String(40)),  # of which images the bytes were asked for: 5%, 3/7; NULL: all
    Column("captures", Key, nullable=False),
    Column("subjects", Key, nullable=False),
    Column("images_asked", Key, nullable=False),
    Column("findings", Key, nullable=False),  # that `reconcile` would act on, or a person must
    Column("found", Text, nullable=False),  # JSON: kind of finding -> how many
)

# A look at what volunteers did, for each batch and workflow; each subject's newest is in `classification_status`.
classification_poll = Table(
    "classification_poll",
    metadata,
    Column("run_id", Key, ForeignKey("run.id"), primary_key=True, autoincrement=False),
    Column("batch_id", Key, primary_key=True, autoincrement=False),
    Column("workflow_id", Key, primary_key=True, autoincrement=False),
    Column("workflow", Text, nullable=False),  # its name
    Column("polled_at", Time, nullable=False),
    Column("subjects", Key, nullable=False),
    Column("classified", Key, nullable=False),
    Column("classifications", Key, nullable=False),
    Column("retired", Key, nullable=False),
)

# Copies of the ledger that `backup` made, or a verb before it did what cannot be undone.
backup = Table(
    "backup",
    metadata,
    Column("run_id", Key, ForeignKey("run.id"), primary_key=True, autoincrement=False),
    Column("made_at", Time, nullable=False),
    Column("path", Text, nullable=False),
    Column("bytes", Key, nullable=False),
    Column("captures", Key, nullable=False),  # in it, as it was read back
    Column("note", Text),
)
