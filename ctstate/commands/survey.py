"""How `ctstate reconcile`, `ctstate verify` and `ctstate adopt` show what a survey found."""

import click

from ctstate.commands import answers
from ctstate.commands.shared import echo_table
from ctstate.verbs.survey import KINDS, Survey

SHOWN = 20


def surveyed(found: Survey) -> answers.Surveyed:
    """Return a survey for scripts."""
    return answers.Surveyed(
        season=found.season,
        agree=found.agree,
        under_way=found.under_way,
        excluded=found.excluded,
        accepted=found.accepted,
        taken_back=found.taken_back,
        to_do=len(found.to_do),
        findings=[
            answers.Finding(each.kind, each.batch, each.capture_id, each.subject_id, each.detail)
            for each in found.findings
        ],
    )


def echo_survey(found: Survey) -> None:
    """Print a survey: a table of counts, then the first findings one by one."""
    rows: list[tuple[str, int, str]] = [("agree", found.agree, "ledger and Zooniverse say the same")]
    if found.taken_back:
        rows.append(("taken back", found.taken_back, "removed or deleted on purpose"))
    if found.under_way:
        rows.append(("under way", found.under_way, "a live run has them: left alone"))
    if found.accepted:
        rows.append(("accepted", found.accepted, "no capture's, but said to be fine there"))
    if found.excluded:
        rows.append(("excluded", found.excluded, "not to be uploaded"))
    rows += [(kind, found.count(kind), meaning) for kind, meaning in KINDS.items() if found.count(kind)]
    echo_table(("finding", "captures", "meaning"), rows)
    listed = [finding for finding in found.findings if finding.kind != "not uploaded"]
    if listed:
        click.echo()
        echo_table(
            ("finding", "batch", "capture", "subject", "seen"),
            [(f.kind, f.batch, f.capture_id, f.subject_id, f.detail) for f in listed[:SHOWN]],
        )
        if len(listed) > SHOWN:
            click.echo(f"... and {len(listed) - SHOWN:,} more (--json lists them all)")
