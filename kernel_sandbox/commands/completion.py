"""Completion: what may stand where the cursor is. One road for shells and notebooks.

All is read from the command tree, so a new command or flag needs nothing here: what an argument wants is told by
its metavar, as in help. Not here: the scripts that ask from within a shell (``shells``).
"""

from __future__ import annotations

import signal
import string
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, takewhile

import msgspec
from msgspec.structs import replace

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context, Group
from kernel_sandbox.commands.flags import MissingValue, is_boolean, split
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec import capabilities
from kernel_sandbox.spec.reference import parse

_UP = frozenset(("running", "restarting"))
_DOWN = frozenset(("created", "exited"))
_PAUSED = frozenset(("paused",))
_ANY = _UP | _DOWN | _PAUSED
_STATES = {
    "attach": _UP, "exec": _UP, "kill": _UP | _PAUSED, "pause": _UP, "port": _UP | _PAUSED, "start": _DOWN,
    "stats": _UP | _PAUSED, "stop": _UP | _PAUSED, "top": _UP | _PAUSED, "unpause": _PAUSED, "wait": _UP | _PAUSED,
}  # fmt: skip
_VALUES = {
    "--attach": ("stdin", "stdout", "stderr"),
    "--cgroupns": ("host", "private"),
    "--format": ("json", "table"),
    "--ipc": ("container:", "host", "none", "private", "shareable"),
    "--log-opt": ("max-file=", "max-size="),
    "--mount": ("type=bind,", "type=tmpfs,", "type=volume,"),
    "--pid": ("container:", "host"),
    "--pull": ("always", "missing", "never"),
    "--restart": ("always", "no", "on-failure", "unless-stopped"),
    "--security-opt": ("no-new-privileges", "seccomp=", "seccomp=unconfined"),
    "--storage-opt": ("size=",),
    "--userns": ("host",),
    "--uts": ("host",),
}
_CAPITALS = frozenset(string.ascii_uppercase + "_")
_FILES = frozenset(("--cidfile", "--env-file", "--input", "--label-file", "--output", "--device"))
_SHARED = "container:"


class Candidate(msgspec.Struct, frozen=True):
    """One thing to write, and what it is, in a few words or none."""

    text: str
    help: str = ""


class Candidates(msgspec.Struct, frozen=True):
    """What there is to choose from; ``files``: names of the caller's files, too, which whoever asks knows."""

    found: tuple[Candidate, ...] = ()
    files: bool = False


def candidates(root: Group, words: Sequence[str], fragment: str, context: Context) -> Candidates:
    """What may stand after *words*, the program's name not among them, and begins with *fragment*, sorted."""
    try:
        offered = _offered(root, words, fragment, context)
    except SandboxError:
        return Candidates()
    found = {each.text: each for each in offered.found if each.text.startswith(fragment)}
    return replace(offered, found=tuple(found[text] for text in sorted(found)))


def _offered(root: Group, words: Sequence[str], fragment: str, context: Context) -> Candidates:
    command: Command = root
    rest = tuple(words)
    while True:
        try:
            rest = split(rest, command.options, command.flags_may_follow).words
        except MissingValue as missing:
            return _values(missing.option, fragment, context)
        if not isinstance(command, Group) or not rest:
            break
        found = command.find(rest[0])
        if found is None:
            return Candidates()
        command, rest = found, rest[1:]
    if rest and not command.flags_may_follow:
        return Candidates(files=True)  # the command inside the container, and its arguments
    if fragment.startswith("-") and "--" not in words:
        return _flags(command, fragment, context)
    if isinstance(command, Group):
        return Candidates(tuple(_subcommands(command)))
    return _arguments(command, rest, context)


def _subcommands(group: Group) -> Iterator[Candidate]:
    return (Candidate(name, summary) for name, summary in group.summaries.items())


def _flags(command: Command, fragment: str, context: Context) -> Candidates:
    """The flags' names; after ``--name=`` its values."""
    options = {name: each for each in command.options for name in each.opts}
    name, equals, value = fragment.partition("=")
    if not equals:
        return Candidates(tuple(Candidate(name, each.help) for name, each in options.items() if not each.hidden))
    if name not in options:
        return Candidates()
    values = _values(options[name], value, context)
    return replace(values, found=tuple(replace(each, text=f"{name}={each.text}") for each in values.found))


def _values(option: syntax.Option, fragment: str, context: Context) -> Candidates:
    """What may be the value of a flag."""
    name = max(option.opts, key=len)
    if is_boolean(option):
        return _plain(("true", "false"))
    if fragment.startswith(_SHARED):
        return _plain(_SHARED + each for each in _containers(context, _UP | _PAUSED))
    if name in _FILES:
        return Candidates(files=True)
    if name in _VALUES:
        return _plain(_VALUES[name])
    match name:
        case "--cap-add" | "--cap-drop":
            return _plain(("ALL", *(each.removeprefix("CAP_") for each in capabilities.ALL)))
        case "--signal" | "--stop-signal":
            return _plain(_signals(fragment))
        case "--env":
            return _plain(context.environment)
        case "--volume":
            return replace(_plain(f"{each}:" for each in _volumes(context)), files=True)
        case "--volumes-from":
            return _plain(_containers(context, _ANY))
    return _by_metavar(option, _ANY, context)


def _signals(fragment: str) -> Iterator[str]:
    prefix = "SIG" if fragment.startswith("S") else ""
    return (prefix + each.name.removeprefix("SIG") for each in signal.Signals)


def _arguments(command: Command, given: tuple[str, ...], context: Context) -> Candidates:
    """What may be the argument that follows those *given*; those are not offered again."""
    arguments = command.arguments
    last = arguments[-1] if arguments and arguments[-1].nargs < 0 else None
    wanted = next(iter(arguments[len(given) :]), last)
    if wanted is None or wanted.type is syntax.UNPROCESSED:
        return Candidates()
    offered = _by_metavar(wanted, _STATES.get(command.name, _ANY), context)
    return replace(offered, found=tuple(each for each in offered.found if each.text not in given))


def _by_metavar(parameter: syntax.Parameter, states: frozenset[str], context: Context) -> Candidates:
    """What help's name for a value stands for: ``none|host``, a file, containers, images; for ``NAME`` all objects."""
    metavar = (parameter.shown if isinstance(parameter, syntax.Argument) else parameter.metavar or "").strip("[].")
    if "CONTAINER:" in metavar:
        return replace(_plain(f"{name}:" for name in _containers(context, states)), files=True)
    match "".join(takewhile(_CAPITALS.__contains__, metavar)):
        case "" if "|" in metavar:
            return _plain(_written(each) for each in metavar.split("|"))
        case "FILE" | "PATH":
            return Candidates(files=True)
        case "CONTAINER":
            return _plain(_containers(context, states))
        case "IMAGE" | "SOURCE_IMAGE" | "REPOSITORY":
            return _plain(_images(context))
        case "VOLUME":
            return _plain(_volumes(context))
        case "NAME" if isinstance(parameter, syntax.Argument):
            return _plain(chain(_containers(context, states), _images(context), _volumes(context)))
    return Candidates()


def _written(alternative: str) -> str:
    """The part of an alternative that is to be written as it is: of ``container:NAME`` the first word."""
    return "".join(takewhile(lambda letter: not letter.isupper(), alternative))


def _containers(context: Context, states: frozenset[str]) -> Iterator[str]:
    return (each.name for each in context.engine.containers.list(all_=True) if each.status in states)


def _images(context: Context) -> Iterator[str]:
    tags = chain.from_iterable(image.tags for image in context.engine.images.list())
    return (parse(tag).familiar() for tag in tags)


def _volumes(context: Context) -> Iterator[str]:
    return (each.name for each in context.engine.volumes.list())


def _plain(texts: Iterable[str]) -> Candidates:
    return Candidates(tuple(map(Candidate, texts)))
