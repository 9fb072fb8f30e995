"""Completion of ``%container`` lines: commands, flags, and the names of the images and containers that there are.

All is read from the command tree, so a new command or flag needs nothing here: what an argument wants is told by
its metavar, as in help.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource
from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec.reference import parse
from magics.session import Session

if TYPE_CHECKING:
    from kernel_sandbox.engine import Engine

IDENTIFIER = "kernel_sandbox"
_BEFORE_OTHERS = 100


def completion(magic: str, session: Session) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """A matcher of IPython's second protocol (``IPython.core.completer``) for the lines of a magic."""
    line = re.compile(rf"(?:^|=)\s*%%?{magic}\s+(?P<words>.*)", re.DOTALL)

    def match(context: CompletionContext) -> SimpleMatcherResult:
        """What the word before the cursor may become; nothing where other matchers know better, as for files."""
        found = line.search(context.text_until_cursor)
        if found is None:
            return SimpleMatcherResult(completions=[])
        *typed, fragment = re.split(r"\s+", found["words"])
        try:
            texts = sorted(each for each in candidates(typed, fragment, session) if each.startswith(fragment))
        except SandboxError:
            texts = []
        completions = [SimpleCompletion(text=text, type="magic") for text in texts]
        return SimpleMatcherResult(completions=completions, matched_fragment=fragment, suppress=bool(texts))

    matcher: Callable[[CompletionContext], SimpleMatcherResult]
    matcher = context_matcher(priority=_BEFORE_OTHERS, identifier=IDENTIFIER)(match)
    return matcher


def candidates(typed: list[str], fragment: str, session: Session) -> Iterator[str]:
    """Every word that may stand after *typed*: flags where *fragment* begins as one. Raises SandboxError."""
    from kernel_sandbox.commands.tree import root

    command: click.Command | None = root
    rest = list(typed)
    while isinstance(command, click.Group) and rest:
        command = command.commands.get(rest.pop(0))
    if command is None:
        return
    options = {name: each for each in command.params if isinstance(each, click.Option) for name in each.opts}
    before = options.get(rest[-1]) if rest else None
    if before and not before.is_flag:
        yield from _choices(before)
        return
    argument = _argument(command, rest)
    if argument and argument.type is click.UNPROCESSED:
        return  # a command inside the container
    if fragment.startswith("-"):
        yield from (*options, "--help")
    elif isinstance(command, click.Group):
        yield from command.commands
    elif argument:
        yield from _choices(argument)
        yield from _names(argument.human_readable_name, session.engine())


def _argument(command: click.Command, typed: list[str]) -> click.Argument | None:
    """The argument that comes after what is typed already."""
    context = command.make_context(command.name, list(typed), resilient_parsing=True)
    for each in command.params:
        is_given = context.get_parameter_source(each.name or "") is ParameterSource.COMMANDLINE
        if isinstance(each, click.Argument) and (each.nargs == -1 or not is_given):
            return each
    return None


def _choices(parameter: click.Parameter) -> list[str]:
    """The values that a metavar such as ``none|host`` spells out."""
    shown = parameter.metavar or ""
    return re.findall("[a-z]+", shown) if "|" in shown else []


def _names(wanted: str, engine: Engine) -> Iterator[str]:
    """Names of what a metavar stands for: containers, images, or for ``NAME`` either."""
    if wanted.startswith(("CONTAINER", "NAME")):
        yield from (container.name for container in engine.containers.list(all_=True))
    if wanted.startswith(("IMAGE", "SOURCE_IMAGE", "REPOSITORY", "NAME")):
        tags = chain.from_iterable(image.tags for image in engine.images.list())
        yield from (parse(tag).familiar() for tag in tags)
