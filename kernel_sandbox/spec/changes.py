"""``--change`` of commit and import: Dockerfile instructions applied to an image's configuration.

Docker allows CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR here.
How they are written is in ``dockerfile``, what variables in them mean in ``expansion``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import dockerfile
from kernel_sandbox.spec.dockerfile import Instruction
from kernel_sandbox.spec.environment import merged_env
from kernel_sandbox.spec.expansion import expanded
from kernel_sandbox.spec.image import ContainerConfig, Empty

_DEFAULT_SHELL = ("/bin/sh", "-c")
_SINGLE = frozenset(("STOPSIGNAL", "USER", "WORKDIR"))
_MAY_BE_EMPTY = frozenset(("CMD", "ENTRYPOINT"))
_FLAGGED = "HEALTHCHECK"


def apply(config: ContainerConfig, changes: Iterable[str]) -> ContainerConfig:
    """*config* with each instruction carried out in turn. Raises UsageError naming a bad instruction.

    An ENTRYPOINT drops the command that was there, unless a CMD came before it.
    """
    given = tuple(changes)
    has_command = False
    for instruction in _valid("\n".join(given)) if given else ():
        config = _EDITS[instruction.name](config, instruction)
        has_command |= instruction.name == "CMD"
        if instruction.name == "ENTRYPOINT" and not has_command:
            config = msgspec.structs.replace(config, cmd=())
    return config


def committed(own: ContainerConfig, changes: Iterable[str]) -> ContainerConfig:
    """A container's *own* configuration with the changes, as its image gets it: what these leave empty stays.

    A command goes with the entry point that it is given to: it is not missing beside another one. Raises UsageError.
    """
    changed = apply(own, changes)
    config = msgspec.structs.replace(
        changed,
        user=changed.user or own.user,
        cmd=changed.cmd if changed.cmd or changed.entrypoint else own.cmd,
        entrypoint=changed.entrypoint or own.entrypoint,
    )
    if not config.healthcheck or not own.healthcheck:
        return config
    asked = {name: value for name in own.healthcheck.__struct_fields__ if (value := getattr(config.healthcheck, name))}
    return msgspec.structs.replace(config, healthcheck=msgspec.structs.replace(own.healthcheck, **asked))


def _valid(text: str) -> tuple[Instruction, ...]:
    """The instructions, all of which may stand here and have what they need."""
    found = dockerfile.parse(text)
    for each in found:
        if each.name not in _EDITS:
            raise UsageError(f"{each.name.lower()} is not a valid change command")
    for each in found:
        if each.flags and each.name != _FLAGGED:
            raise UsageError(f"Unknown flag: {each.flags[0].partition('=')[0]}")
        if not each.rest and each.name not in _MAY_BE_EMPTY:
            raise UsageError(f"{each.name} requires {'exactly' if each.name in _SINGLE else 'at least'} one argument")
    return found


def _variables(config: ContainerConfig) -> Mapping[str, str]:
    return {name: value for name, _, value in (entry.partition("=") for entry in config.env)}


def _cmd(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    return msgspec.structs.replace(config, cmd=_command(config, instruction.rest))


def _entrypoint(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    command = _command(config, instruction.rest) if instruction.rest else ()
    return msgspec.structs.replace(config, entrypoint=command)


def _command(config: ContainerConfig, rest: str) -> tuple[str, ...]:
    """Exec form, a JSON array of strings, or shell form."""
    return dockerfile.strings(rest, (*(config.shell or _DEFAULT_SHELL), *filter(None, (rest,))))


def _env(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    added = (f"{name}={value}" for name, value in _pairs(config, instruction))
    return msgspec.structs.replace(config, env=merged_env(config.env, added))


def _label(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    return msgspec.structs.replace(config, labels={**config.labels, **dict(_pairs(config, instruction))})


def _pairs(config: ContainerConfig, instruction: Instruction) -> tuple[tuple[str, str], ...]:
    variables = _variables(config)
    pairs = dockerfile.pairs(instruction.name, instruction.rest)
    return tuple((expanded(name, variables), expanded(value, variables)) for name, value in pairs)


def _expose(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    from kernel_sandbox.spec import ports

    variables = _variables(config)
    words = (word for each in instruction.rest.split() for word in expanded(each, variables).split())
    added = {port: Empty() for word in words for port in ports.exposed(word)}
    return msgspec.structs.replace(config, exposed_ports={**config.exposed_ports, **added})


def _healthcheck(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    from kernel_sandbox.spec import healthcheck

    return msgspec.structs.replace(config, healthcheck=healthcheck.parse(instruction.flags, instruction.rest))


def _volume(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    variables = _variables(config)
    paths = [each.strip() for each in dockerfile.strings(instruction.rest, tuple(instruction.rest.split()))]
    if not paths:
        raise UsageError("VOLUME requires at least one argument")
    volumes = {expanded(path, variables): Empty() for path in paths}
    if "" in volumes:
        raise UsageError("VOLUME specified can not be an empty string")
    return msgspec.structs.replace(config, volumes={**config.volumes, **volumes})


def _workdir(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    """A relative one is below the one that was there."""
    path = expanded(instruction.rest, _variables(config))
    if not path:
        raise UsageError("cannot normalize nothing")
    if not path.startswith("/"):
        path = posixpath.normpath(posixpath.join("/", config.working_dir, path))
    return msgspec.structs.replace(config, working_dir=path)


def _user(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    return msgspec.structs.replace(config, user=expanded(instruction.rest, _variables(config)))


def _stopsignal(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    from kernel_sandbox.spec.flags import parse_signal

    name = expanded(instruction.rest, _variables(config))
    parse_signal(name)
    return msgspec.structs.replace(config, stop_signal=name)


def _onbuild(config: ContainerConfig, instruction: Instruction) -> ContainerConfig:
    trigger = instruction.rest.split()[0].upper()
    if trigger == "ONBUILD":
        raise UsageError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise UsageError(f"{trigger} isn't allowed as an ONBUILD trigger")
    return msgspec.structs.replace(config, on_build=(*config.on_build, instruction.rest))


_EDITS: dict[str, Callable[[ContainerConfig, Instruction], ContainerConfig]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
