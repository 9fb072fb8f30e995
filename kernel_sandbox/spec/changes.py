"""``--change`` of commit and import: single Dockerfile instructions applied to an image's configuration.

Docker allows CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import healthcheck
from kernel_sandbox.spec.image import ContainerConfig, Empty
from kernel_sandbox.spec.units import is_number

DEFAULT_SHELL = ("/bin/sh", "-c")
_SINGLE = frozenset(("STOPSIGNAL", "USER", "WORKDIR"))
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""")
_PART = re.compile(r"""\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'|([^"'\\]+)""")


def apply(config: ContainerConfig, changes: Iterable[str]) -> ContainerConfig:
    """*config* with each instruction carried out in turn. Raises UsageError naming a bad instruction.

    An ENTRYPOINT drops the command that was there, unless a CMD came before it.
    """
    has_command = False
    for change in changes:
        instruction, _, rest = change.strip().partition(" ")
        name = instruction.upper()
        edit = _EDITS.get(name)
        if not name:
            raise UsageError("file with no instructions")
        if edit is None:
            raise UsageError(f"{name.lower()} is not a valid change command")
        if not rest.strip() and name not in ("CMD", "ENTRYPOINT"):
            raise UsageError(f"{name} requires {'exactly' if name in _SINGLE else 'at least'} one argument")
        config = edit(config, rest.strip())
        has_command |= name == "CMD"
        if name == "ENTRYPOINT" and not has_command:
            config = msgspec.structs.replace(config, cmd=())
    return config


def _command(rest: str) -> tuple[str, ...]:
    """Exec form (a JSON array of strings) or shell form."""
    if rest.startswith("["):
        try:
            return msgspec.json.decode(rest, type=tuple[str, ...])
        except msgspec.DecodeError:
            pass
    return (*DEFAULT_SHELL, rest) if rest else ()


def _cmd(config: ContainerConfig, rest: str) -> ContainerConfig:
    return msgspec.structs.replace(config, cmd=_command(rest))


def _entrypoint(config: ContainerConfig, rest: str) -> ContainerConfig:
    return msgspec.structs.replace(config, entrypoint=_command(rest))


def _env(config: ContainerConfig, rest: str) -> ContainerConfig:
    added = _pairs("ENV", rest)
    return msgspec.structs.replace(config, env=merged_env(config.env, [f"{k}={v}" for k, v in added]))


def merged_env(base: Iterable[str], over: Iterable[str]) -> tuple[str, ...]:
    """``NAME=value`` entries of *base*, each replaced in its place where *over* has the name, then the rest."""
    merged = {entry.partition("=")[0]: entry for entry in base}
    merged.update((entry.partition("=")[0], entry) for entry in over)
    return tuple(merged.values())


def _label(config: ContainerConfig, rest: str) -> ContainerConfig:
    labels = {**(config.labels), **dict(_pairs("LABEL", rest))}
    return msgspec.structs.replace(config, labels=labels)


def _pairs(instruction: str, rest: str) -> list[tuple[str, str]]:
    """``a=1 b="two words"``, or the old form ``name the whole rest``."""
    words = _WORD.findall(rest)
    if "=" not in words[0]:
        name, _, value = rest.partition(" ")
        if not value.strip():
            raise UsageError(f"{instruction} must have two arguments")
        return [(name, value.strip())]
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{instruction}: cannot read {word!r}: write name=value")
        pairs.append((_unquoted(name), _unquoted(value)))
    return pairs


def _unquoted(word: str) -> str:
    return "".join(
        escaped or re.sub(r"\\(.)", r"\1", double) or single or plain
        for escaped, double, single, plain in _PART.findall(word)
    )


def _expose(config: ContainerConfig, rest: str) -> ContainerConfig:
    ports = {port: Empty() for word in rest.split() for port in _ports(word)}
    return msgspec.structs.replace(config, exposed_ports={**config.exposed_ports, **ports})


def _ports(word: str) -> Iterator[str]:
    """``80``, ``80/udp``, ``80-82``; what stands before a colon is a port of the host's, and of no matter here."""
    numbers, _, protocol = word.rpartition(":")[2].partition("/")
    first, dash, last = numbers.partition("-")
    if not is_number(first) or (dash and not is_number(last)) or protocol not in ("", "tcp", "udp", "sctp"):
        raise UsageError(f"Invalid containerPort: {word}")
    start, end = int(first), int(last or first)
    if not 0 < start <= end < 65536:
        raise UsageError(f"Invalid containerPort: {word}")
    return (f"{number}/{protocol or 'tcp'}" for number in range(start, end + 1))


def _healthcheck(config: ContainerConfig, rest: str) -> ContainerConfig:
    return msgspec.structs.replace(config, healthcheck=healthcheck.parse(rest))


def _volume(config: ContainerConfig, rest: str) -> ContainerConfig:
    paths = _command(rest) if rest.startswith("[") else tuple(rest.split())
    if not paths:
        raise UsageError("VOLUME requires at least one argument")
    return msgspec.structs.replace(config, volumes={**(config.volumes), **{path: Empty() for path in paths}})


def _workdir(config: ContainerConfig, rest: str) -> ContainerConfig:
    path = _unquoted(rest)
    if not path.startswith("/"):
        path = f"{(config.working_dir or '/').rstrip('/')}/{path}"
    return msgspec.structs.replace(config, working_dir=path)


def _setter(field: str) -> Callable[[ContainerConfig, str], ContainerConfig]:
    return lambda config, rest: msgspec.structs.replace(config, **{field: rest})


def _onbuild(config: ContainerConfig, rest: str) -> ContainerConfig:
    trigger = rest.partition(" ")[0].upper()
    if trigger == "ONBUILD":
        raise UsageError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise UsageError(f"{trigger} isn't allowed as an ONBUILD trigger")
    return msgspec.structs.replace(config, on_build=(*(config.on_build), rest))


_EDITS: dict[str, Callable[[ContainerConfig, str], ContainerConfig]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _setter("stop_signal"),
    "USER": _setter("user"),
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
