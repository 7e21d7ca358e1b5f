"""Write docs/cli.md from the commands' own --help; a test holds the two together."""

import sys
from pathlib import Path

import click

from ctstate.commands import cli


def reference() -> str:
    """Return docs/cli.md."""
    root = click.Context(cli, info_name="ctstate", max_content_width=100, help_option_names=["-h", "--help"])
    parts = ["# Command line reference\n", "Made from `--help` by `make docs`.\n", _block("ctstate", cli, root)]
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        parts.append(_block(f"ctstate {name}", command, click.Context(command, root, name, max_content_width=100)))
        if isinstance(command, click.Group):
            inner = click.Context(command, root, name, max_content_width=100)
            for below in command.list_commands(inner):
                leaf = command.get_command(inner, below)
                assert leaf is not None
                context = click.Context(leaf, inner, below, max_content_width=100)
                parts.append(_block(f"ctstate {name} {below}", leaf, context))
    return "\n".join(parts)


def _block(title: str, command: click.Command, context: click.Context) -> str:
    context.terminal_width = 100
    return f"## {title}\n\n```\n{command.get_help(context).rstrip()}\n```\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(reference())
    else:
        Path(__file__).with_name("cli.md").write_text(reference(), encoding="utf-8")
