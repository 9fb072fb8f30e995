"""``docs/reference/commands.md`` names every command and every flag that help shows."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel_sandbox.commands.command import Command, Group
from kernel_sandbox.commands.tree import root

PAGE = (Path(__file__).parents[2] / "docs/reference/commands.md").read_text()
ROWS = [line.replace(r"\|", "/") for line in PAGE.splitlines() if line.startswith("| `")]
DESCRIBED_BELOW = ("run", "create", "update")


def commands(group: Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Command]]:
    for name in group.summaries:
        command = group.find(name)
        assert command
        if isinstance(command, Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(root))


def row(name: str) -> str:
    """Where the page tells of a command: the first or second column names it."""
    return next((line for line in ROWS if re.search(rf"`{name}[ `]", line.rpartition(" |")[0])), "")


def flags(command: Command) -> Iterator[list[str]]:
    for option in command.options:
        if not option.hidden and option is not command.help_option:
            yield option.opts


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_names_the_command_and_its_flags(name: str) -> None:
    assert row(name) or f"`{name} " in PAGE
    text = PAGE if name.split()[-1] in DESCRIBED_BELOW else row(name)
    missing = [spellings for spellings in flags(COMMANDS[name]) if not any(f"`{each}" in text for each in spellings)]
    assert missing == []
