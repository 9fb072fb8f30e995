"""Which volumes a container gets: its own, other containers' (``--volumes-from``), the image's, as Docker decides it.

Not here: how ``-v`` and ``--mount`` are written, and where volumes are kept.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec.options import Bind, ContainerOptions, VolumeMount

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"
_READONLY = "ro"
_MODES = ("rw", "z", "Z", _READONLY)
_MOST_MOUNTS = 100
_MOST_BYTES = 255

Mount = Bind | VolumeMount


class Donor(msgspec.Struct, frozen=True):
    """A container whose mounts another one gets too, ``readonly`` or as it has them."""

    options: ContainerOptions
    readonly: bool


def checked_name(name: str) -> str:
    """A volume's name as Docker allows it. Raises SandboxError."""
    if len(name) == 1:
        raise SandboxError(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not re.fullmatch(_NAME, name):
        raise SandboxError(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if len(name) > _MOST_BYTES:
        raise SandboxError(f"create {name[:20]}…: volume name is too long, names have at most {_MOST_BYTES} characters")
    return name


def parse_volumes_from(text: str) -> tuple[str, bool]:
    """``--volumes-from``'s value, ``container[:mode]``: the container, and whether read-only. Raises UsageError."""
    if not text:
        raise UsageError("volumes-from specification cannot be an empty string")
    container, colon, mode = text.partition(":")
    if colon and mode not in _MODES:
        raise UsageError(f"invalid mode: {mode}")
    return container, mode == _READONLY


def resolved(
    wanted: ContainerOptions,
    image_volumes: Iterable[str],
    donors: Iterable[Donor],
    new_name: Callable[[], str],
) -> ContainerOptions:
    """The options with every volume that the container will have, each with a name.

    Of two mounts in one place the user's own goes before a donor's, and anonymous volumes without ``--mount``, the
    user's and the image's, come only where there is nothing else. Raises SandboxError for names that are none.
    """
    memory = {tmpfs.target for tmpfs in wanted.tmpfs}
    mounts: dict[str, Mount] = {mount.target: mount for donor in donors for mount in _shared(donor)}
    mounts.update((bind.target, bind) for bind in wanted.binds)
    mounts.update((volume.target, volume) for volume in wanted.volumes if not _gives_way(volume))
    modest = (*(volume.target for volume in wanted.volumes if _gives_way(volume)), *map(_target, image_volumes))
    for target in modest:
        mounts.setdefault(target, VolumeMount("", target))
    kept = [mount for mount in mounts.values() if mount.target not in memory]
    if len(kept) > _MOST_MOUNTS:
        raise UsageError(f"{len(kept)} mounts are too many: a container takes at most {_MOST_MOUNTS}")
    return msgspec.structs.replace(
        wanted,
        binds=tuple(mount for mount in kept if isinstance(mount, Bind)),
        volumes=tuple(_named(mount, new_name) for mount in kept if isinstance(mount, VolumeMount)),
    )


def _gives_way(volume: VolumeMount) -> bool:
    return not volume.name and not volume.as_mount


def _shared(donor: Donor) -> Iterator[Mount]:
    """A donor's mounts; its volumes have been filled by its own image, if by any."""
    for bind in donor.options.binds:
        yield msgspec.structs.replace(bind, readonly=bind.readonly or donor.readonly)
    for volume in donor.options.volumes:
        yield msgspec.structs.replace(volume, readonly=volume.readonly or donor.readonly, copies=False)


def _target(path: str) -> str:
    """Where an image's volume is mounted."""
    target = posixpath.normpath("/" + path).replace("//", "/")
    if target == "/":
        raise UsageError(f"invalid volume specification: '{path}': destination can't be '/'")
    return target


def _named(volume: VolumeMount, new_name: Callable[[], str]) -> VolumeMount:
    if not volume.name:
        return msgspec.structs.replace(volume, name=new_name(), anonymous=True)
    checked_name(volume.name)
    return volume
