"""ctstate delete"""

from typing import Any

import click

from ctstate.commands.remove import choice_options, conclude, consent_options, goes_ahead, wanted
from ctstate.commands.root import Places
from ctstate.commands.shared import account_options, connect, places
from ctstate.verbs.delete import delete as carry_out
from ctstate.verbs.delete import plan_deletion
from ctstate.verbs.remove import Consent


@click.command()
@choice_options
@click.option("--even-if-shared", is_flag=True, help="Also subjects that another subject set has, too.")
@click.option("--even-if-classified", is_flag=True, help="Also subjects that volunteers classified.")
@click.option("--connections", type=click.IntRange(1, 16), default=4, show_default=True, help="At the same time.")
@consent_options
@account_options
@places
def delete(
    where: Places,
    /,
    project_id: int,
    password_file: str | None,
    reason: str,
    force_foreign: bool,
    dry_run: bool,
    yes: bool,
    even_if_shared: bool,
    even_if_classified: bool,
    connections: int,
    as_json: bool,
    **choice: Any,
) -> None:
    """Delete subjects on Zooniverse, for good.

    `ctstate remove` is milder. Run it again to resume: what is gone already counts as done.

    \b
    Example:
      ctstate delete --project-id 593 --from-file people.csv --reason people --dry-run
    """
    consent = Consent(shared=even_if_shared, classified=even_if_classified, foreign=force_foreign)
    with where.open() as ledger:
        zooniverse = connect(where, password_file, connections=connections)
        plan = plan_deletion(ledger, zooniverse, project_id, wanted(**choice), consent)
        if not goes_ahead(plan, where.endpoint, dry_run=dry_run, yes=yes, as_json=as_json):
            return
        report = carry_out(ledger, zooniverse, plan, reason, connections=connections)
    conclude(plan, report, as_json=as_json)
