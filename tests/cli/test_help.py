"""A new user finds the verb, and sees how it is called."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import click
import pytest

from ctstate.commands import cli
from ctstate.commands.root import GROUPS, VERBS


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every verb, and what is below a verb that is a group."""
    root = click.Context(cli, info_name="ctstate")
    for verb in VERBS:
        command = cli.get_command(root, verb)
        assert command is not None
        context = click.Context(command, root, verb)
        yield verb, command, context
        for below in command.list_commands(context) if isinstance(command, click.Group) else ():
            inner = command.get_command(context, below)  # type: ignore[attr-defined]
            yield f"{verb} {below}", inner, click.Context(inner, context, below)


ALL = {name: (command, context) for name, command, context in commands()}


def test_the_help_shows_every_verb_once_by_what_it_is_for(call_ctstate: Any) -> None:
    shown = call_ctstate("--help").stdout
    sections = re.findall(r"^([A-Z][\w ]+):\n((?:  .*\n?)+)", shown, re.MULTILINE)
    grouped = {
        title: re.findall(r"^  ([a-z-]+)", body, re.MULTILINE) for title, body in sections if title in GROUPS
    }
    assert list(grouped) == list(GROUPS)
    assert grouped["Prepare a season"][0] == "manifest"
    assert sorted(verb for verbs in grouped.values() for verb in verbs) == sorted(VERBS)


@pytest.mark.parametrize("name", ALL)
def test_every_help_has_an_example_that_can_be_called(name: str) -> None:
    command, context = ALL[name]
    _, _, after = command.get_help(context).partition("Example")
    examples = re.findall(r"^ +(ctstate .*)$", after.partition("\n\n")[0], re.MULTILINE)
    assert examples, command.get_help(context)
    for example in examples:
        words = shlex.split(example)[1:]
        if " " in name or not isinstance(command, click.Group):
            assert words[: len(name.split())] == name.split()
            words = words[len(name.split()) :]
            # Parsed in full, and not carried out: an option that is renamed shows here.
            command.make_context(name, words, parent=context.parent)
        else:
            assert words[0] == name
            assert f"{name} {words[1]}" in ALL


def test_no_example_is_longer_than_a_terminal_is_wide() -> None:
    shown = [line for command, context in ALL.values() for line in command.get_help(context).splitlines()]
    assert [line for line in shown if line.strip().startswith("ctstate ") and len(line) > 110] == []
