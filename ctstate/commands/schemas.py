"""Which type each verb's `--json` prints: docs/json.md and the JSON Schemas in docs/schemas are made of these.

Where a verb's report says all, it is the answer as it is; the other types are in `answers`. Fields are added, never
renamed or removed (docs/stability.md).
"""

import importlib
from typing import Any

ANSWERS = {
    "adopt": "commands.answers:Adopted",
    "backup": "verbs.backup:Backup",
    "batch": "verbs.batch:BatchReport",
    "copy": "ledger.moving:Moved",
    "delete": "commands.answers:TakenBack",
    "doctor": "commands.answers:Examination",
    "exclude": "verbs.exclude:ExclusionReport",
    "export captures": "verbs.export:ExportReport",
    "export manifest": "verbs.export:ExportReport",
    "export speciesnet-instances": "verbs.export:ExportReport",
    "export tracker": "verbs.export:ExportReport",
    "export uploaded-manifest": "verbs.export:ExportReport",
    "history": "commands.answers:CaptureHistory",
    "import manifest": "verbs.import_:ImportReport",
    "import tracker": "verbs.import_:ImportReport",
    "include": "verbs.exclude:ExclusionReport",
    "link": "verbs.link:LinkReport",
    "manifest": "verbs.manifest:ManifestReport",
    "plan": "commands.answers:SeasonPlan",
    "predict": "verbs.predict:PredictReport",
    "progress": "verbs.progress:Done[]",
    "reconcile": "commands.answers:Reconciled",
    "remove": "commands.answers:TakenBack",
    "report": "verbs.report:Report",
    "retry": "commands.answers:Retried",
    "runs": "commands.answers:RunOrQueued[]",
    "sample": "commands.answers:SampleTaken",
    "sets": "commands.answers:SetRow[]",
    "sql": "commands.answers:AnyRow[]",
    "status": "commands.answers:StatusRow[]",
    "stop": "verbs.stop:StopReport",
    "unlink": "verbs.link:LinkReport",
    "update-metadata": "verbs.update_metadata:UpdateReport",
    "upload": "commands.answers:Uploaded",
    "verify": "commands.answers:Verified",
    "workflows": "commands.answers:WorkflowRow[]",
}
"""By verb, the home of its answer's type; `[]`: a list of these."""

SILENT = {
    "demo": "it tells a story",
    "init": "it writes a file; `--schema` prints the JSON Schema of such files",
    "run": "it calls other verbs, each of which prints its own answer: call these",
    "sandbox": "it runs until Ctrl-C",
    "serve": "it runs until Ctrl-C",
    "submit": "it prints the numbers of its jobs; `runs --json` tells of them",
    "watch": "it draws for people; `status --json` and `runs --json` say the same",
}
"""Verbs without `--json`, and why."""


def answer_type(verb: str) -> tuple[Any, bool]:
    """Return the type of a verb's answer, and whether it is a list of these."""
    module, _, name = ANSWERS[verb].partition(":")
    return getattr(importlib.import_module(f"ctstate.{module}"), name.removesuffix("[]")), name.endswith("[]")
