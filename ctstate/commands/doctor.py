"""ctstate doctor"""

from collections import Counter

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import ID, echo_json, json_option, places
from ctstate.verbs import doctor as library


@click.command()
@click.option("--project-id", type=ID, help="Check the account's rights in this Zooniverse project.")
@click.option(
    "--password-file",
    type=click.Path(dir_okay=False),
    help="INI file with username and password in its section [zooniverse]; "
    "else PANOPTES_USERNAME and PANOPTES_PASSWORD, or ~/.panoptes/config.yml.",
)
@click.option("--log-dir", type=click.Path(file_okay=False), help="Where logs will go: is there room?")
@click.option(
    "--nodes", type=click.IntRange(1, 2), default=1, show_default=True, help="2: let two Slurm nodes test locks."
)
@click.option("--partition", help="For --nodes 2, as Slurm takes it.")
@click.option("--account", help="For --nodes 2, as Slurm takes it.")
@json_option
@places
def doctor(
    where: Places,
    project_id: int | None,
    password_file: str | None,
    log_dir: str | None,
    nodes: int,
    partition: str | None,
    account: str | None,
    as_json: bool,
) -> None:
    """Say what is wrong before a long run; exits with 1 if anything fails. Changes nothing.

    \b
    Example:
      ctstate doctor --project-id 593 --password-file ~/keys/passwords.ini --log-dir logs
    """
    patient = library.Patient(
        ledger=where.ledger,
        endpoint=where.endpoint,
        project_id=project_id,
        password_file=password_file,
        log_dir=log_dir,
        nodes=nodes,
        partition=partition,
        account=account,
        insecure_http=where.insecure_http,
    )
    checks = []
    for check in library.examine(patient):
        checks.append(check)
        if not as_json:
            click.echo(f"{check.verdict.value:<4}  {check.name:<19} {check.seen}")
            if check.advice:
                click.echo(f"{'':25} -> {check.advice}")
    counts = Counter(check.verdict for check in checks)
    failed = counts[library.Verdict.FAIL]
    if as_json:
        echo_json({"ok": not failed, "checks": [vars(check) for check in checks]})
    elif failed or counts[library.Verdict.WARN]:
        click.echo(f"{failed} failed, {counts[library.Verdict.WARN]} to look at.")
    else:
        click.echo("All is well.")
    if failed:
        raise SystemExit(1)
