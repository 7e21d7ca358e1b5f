"""What a shell completes beyond verbs and options: names that are in the ledger (docs/install.md, "Completion")."""

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def season_names(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete a season."""
    from ctstate.ledger import names

    return _beginning(begun, names.seasons(_ledger(ctx)))


def batch_names(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete a batch, of the season that is named before it, if one is."""
    from ctstate.ledger import names

    return _beginning(begun, names.batches(_ledger(ctx), ctx.params.get("season")))


def capture_states(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete a state: one that the option takes, and that captures are in; where the ledger is not known, any."""
    from ctstate.ledger import names

    choices = parameter.type.choices if isinstance(parameter.type, click.Choice) else ()
    there = names.states(_ledger(ctx)) or choices
    return _beginning(begun, (name for name in there if name in choices))


def files(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Let the shell complete a file."""
    return [CompletionItem(begun, type="file")]


def _ledger(ctx: click.Context) -> str:
    root = ctx.find_root()
    given = root.params.get("ledger")
    if isinstance(given, str):
        return given
    # Defaults are left out while a shell completes.
    (option,) = (p for p in root.command.params if p.name == "ledger")
    return str(option.value_from_envvar(root) or option.default)


def _beginning(begun: str, found: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in found if name.startswith(begun)]
