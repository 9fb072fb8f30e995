"""Volumes: made, listed and removed. Which volumes a container gets is decided in ``spec.volumes``."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence

import msgspec

from kernel_sandbox.engine import tasks
from kernel_sandbox.engine.names import volume_name
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import Conflict, NotFound, StoreError
from kernel_sandbox.runtime.launcher import Launcher, call
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.filters import Filters
from kernel_sandbox.spec.volumes import checked_name
from kernel_sandbox.storage.staging import store_errors
from kernel_sandbox.storage.volumes import Volume, VolumeRecords

DRIVER = "local"


class Pruned(msgspec.Struct, frozen=True):
    """The names of the volumes that were removed, and the bytes that were in their files."""

    names: tuple[str, ...]
    bytes: int


class VolumeDocument(msgspec.Struct, frozen=True, rename="pascal"):
    """``GET /volumes/{name}``."""

    created_at: str
    driver: str
    labels: Mapping[str, str] | None
    mountpoint: str
    name: str
    options: Mapping[str, str] | None
    scope: str


class Volumes:
    """The volumes of one store."""

    def __init__(self, paths: Paths, records: VolumeRecords, launcher: Launcher) -> None:
        self._paths = paths
        self._records = records
        self._launcher = launcher

    def create(self, name: str = "", labels: Mapping[str, str] | None = None) -> Volume:
        """Make an empty volume, an anonymous one without a *name*; one that is there already stays as it is."""
        chosen = checked_name(name) if name else volume_name()
        with store_errors(self._paths.home):
            self._records.add(chosen, not name, labels or {}, self._paths.volume(chosen).ensure)
        return self._records.find(chosen)

    def find(self, name: str) -> Volume:
        """The volume of this name. Raises NotFound."""
        return self._records.find(name)

    def list(self, filters: Filters = Filters()) -> tuple[Volume, ...]:  # noqa: B008  a frozen value
        """The volumes that pass the filters, by name. Raises SandboxError for a filter that does not exist."""
        filters.check("dangling", "driver", "label", "name")
        dangling = filters.flag("dangling")
        return tuple(
            each
            for each in self._records.all()
            if (dangling is None or dangling is not bool(each.containers))
            and filters.allows("driver", DRIVER)
            and filters.fits_labels(each.labels)
            and filters.matches("name", each.name)
        )

    def mountpoint(self, volume: Volume) -> str:
        """The host's directory with the volume's files."""
        return self._paths.volume(volume.name).data

    def document(self, name: str) -> VolumeDocument:
        """All about a volume. Raises NotFound."""
        volume = self.find(name)
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(volume.created // 10**9))
        labels = volume.labels or None
        return VolumeDocument(created, DRIVER, labels, self.mountpoint(volume), volume.name, None, DRIVER)

    def remove(self, name: str) -> None:
        """Remove a volume and its files, on a full disk with the store's reserve.

        Raises NotFound, Conflict while a container has it.
        """
        try:
            self._remove(name)
        except StoreError:
            if not self._paths.release_reserve():
                raise
            self._remove(name)
            self._paths.ensure_reserve()

    def _remove(self, name: str) -> None:
        with store_errors(self._paths.home):
            remains = discarded(self._paths, self._records, name)
        self._call("remove_trees", (remains,))

    def prune(self, all_: bool = False, filters: Filters = Filters()) -> Pruned:  # noqa: B008  a frozen value
        """Remove the anonymous volumes that no container has; *all_*: those with a name, too.

        Raises SandboxError for a filter that does not exist.
        """
        filters.check("all", "label", "label!")
        everything = all_ or filters.flag("all") is True
        unused = [
            each
            for each in self._records.all()
            if not each.containers and (each.anonymous or everything) and filters.fits_labels(each.labels)
        ]
        names, trees = [], []
        for volume in unused:
            try:
                trees.append(discarded(self._paths, self._records, volume.name))
                names.append(volume.name)
            except (Conflict, NotFound):
                continue
        freed = sum(msgspec.msgpack.decode(self._call("measure_trees", trees), type=decodable(list[int])))
        self._call("remove_trees", trees)
        return Pruned(tuple(names), freed)

    def _call(self, job: str, trees: Sequence[str]) -> bytes:
        return call(self._launcher, job, tasks.encode(tasks.Trees(self._paths.home, self._paths.run, tuple(trees))))


def discarded(paths: Paths, records: VolumeRecords, name: str) -> str:
    """Forget a volume; returns where its files are until they are removed. Raises NotFound, Conflict."""
    remains = os.path.join(paths.staging, os.urandom(16).hex())

    def move() -> None:
        os.makedirs(paths.staging, mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.rename(paths.volume(name).home, remains)

    records.remove(name, move)
    return remains
