"""`ctstate sandbox`: a Zooniverse of one's own, to try things out."""

from typing import Any

import click

from ctstate.verbs.sandbox import SandboxSettings, run_sandbox
from ctstate.zooniverse import Credentials, read_credentials

DEFAULTS = SandboxSettings()


@click.command(name="sandbox")
@click.option("--directory", default="ctstate-sandbox", show_default=True, help="Where its state is kept.")
@click.option("--port", type=int, default=8099, show_default=True, help="Port on 127.0.0.1; 0 for a free one.")
@click.option(
    "--password-file",
    type=click.Path(dir_okay=False),
    help=f"Its account, as `ctstate upload` takes it; by default {DEFAULTS.login}, {DEFAULTS.password}.",
)
@click.option(
    "--subject-limit",
    type=click.IntRange(min=0),
    default=DEFAULTS.subject_limit,
    show_default=True,
    help="How many subjects the account may upload.",
)
@click.option(
    "--token-lifetime",
    type=click.FloatRange(min=0),
    default=DEFAULTS.token_lifetime,
    show_default=True,
    help="Seconds until an access token expires.",
)
@click.option("--discard-images", is_flag=True, help="Keep size and MD5 of images, not their bytes.")
@click.option("--faults", metavar="FILE", help="Failures to order (a JSON plan).")
def sandbox(
    directory: str,
    port: int,
    password_file: str | None,
    subject_limit: int,
    token_lifetime: float,
    discard_images: bool,
    faults: str | None,
) -> None:
    """Run a local stand-in for Zooniverse until Ctrl-C.

    It behaves like the real one, keeps what was uploaded in a directory, and shows it at its address in a browser.

    \b
    Example:
      ctstate sandbox --directory rehearsal --port 8099
    """
    account = Credentials(DEFAULTS.login, DEFAULTS.password)
    if password_file is not None:
        account = read_credentials(password_file)
    settings = SandboxSettings(
        login=account.username,
        password=account.password,
        subject_limit=subject_limit,
        token_lifetime=token_lifetime,
        discard_images=discard_images,
    )
    run_sandbox(directory, settings, port=port, faults=faults, on_ready=_announce)
    click.echo("Stopped; the state is kept.")


def _announce(about: dict[str, Any]) -> None:
    click.echo(f"Zooniverse sandbox at {about['url']} (open it in a browser to see what is there)")
    click.echo(f"Project {about['project_id']}, workflow {about['workflow_id']}. To use it:")
    click.echo(f"  export PANOPTES_ENDPOINT={about['url']}")
    if about["password"] == DEFAULTS.password:
        click.echo(f"  export PANOPTES_USERNAME={about['login']} PANOPTES_PASSWORD={about['password']}")
    else:
        click.echo(f"  and the account {about['login']}, by --password-file")
    click.echo("Ctrl-C stops it.")
