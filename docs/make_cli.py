"""Write the command line reference from the commands' own --help: docs/verbs/NAME.md, one page a verb, named after
its module, and docs/cli.md, the index. A test holds pages and commands together.
"""

from collections.abc import Iterator

import click
from writing import write

from ctstate.commands import cli
from ctstate.commands.root import GROUPS, VERBS

WIDTH = 100
NOTE = "Made from `--help` by `make docs`.\n"


def pages() -> dict[str, str]:
    """Return what belongs in docs/, by path."""
    root = click.Context(
        cli,
        info_name="ctstate",
        max_content_width=WIDTH,
        terminal_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    verbs: dict[str, list[str]] = {}
    for name in cli.list_commands(root):
        verbs.setdefault(VERBS[name].rpartition(".")[2], []).append(name)
    made = {f"verbs/{page}.md": _page(root, names) for page, names in verbs.items()}
    return {"cli.md": _index(root, verbs), **made}


def _index(root: click.Context, verbs: dict[str, list[str]]) -> str:
    formatter = root.make_formatter()
    cli.format_usage(root, formatter)
    cli.format_help_text(root, formatter)
    click.Command.format_options(cli, root, formatter)  # the verbs have a table of their own
    page_of = {name: page for page, names in verbs.items() for name in names}
    lines: list[str] = []
    for title, names in GROUPS.items():
        lines += [f"## {title}\n", "| verb | |", "| --- | --- |"]
        lines += [
            f"| [{name}](verbs/{page_of[name]}.md) | {_command(root, name).get_short_help_str(limit=200)} |"
            for name in names
        ]
        lines.append("")
    return "\n".join(["# Command line reference\n", NOTE, _block(formatter.getvalue()), *lines])


def _page(root: click.Context, names: list[str]) -> str:
    parts = [f"# {', '.join(names)}\n", f"{NOTE.rstrip()} All verbs: [cli.md](../cli.md).\n"]
    for name in names:
        for context in _contexts(root, name):
            parts += [f"## {context.command_path}\n", _block(context.get_help())]
    return "\n".join(parts)


def _contexts(parent: click.Context, name: str) -> Iterator[click.Context]:
    """Yield the context of a command, and of what is below it where it is a group."""
    command = _command(parent, name)
    context = click.Context(command, parent, name, max_content_width=WIDTH, terminal_width=WIDTH)
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from _contexts(context, below)


def _command(parent: click.Context, name: str) -> click.Command:
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    assert command is not None
    return command


def _block(text: str) -> str:
    return f"```\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    write(pages(), "verbs", "md")
