"""What runs in processes of its own: all that touches layers, takes a container's lock, or stays with a container.

A job gets its argument as a msgpack document and answers with one. Layers are touched as root among their owners
(``runtime.ids``), so the same functions serve root and an ordinary user.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import msgspec

from kernel_sandbox.engine import archive_jobs, locks, writable
from kernel_sandbox.engine.copy_jobs import copy_in, copy_out
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.removal import end_processes, remove_container
from kernel_sandbox.engine.supervisor import prepare, supervise
from kernel_sandbox.engine.tasks import (
    Bootstrap,
    CopyIn,
    CopyOut,
    Diff,
    InStore,
    Load,
    NewBase,
    NewLayer,
    OneContainer,
    PackDiff,
    PackRootfs,
    Removal,
    Trees,
    Unpack,
    encode,
)
from kernel_sandbox.errors import Conflict, NotFound, SandboxError
from kernel_sandbox.runtime.launcher import Job
from kernel_sandbox.spec.derivation import EMPTY_LAYER
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.storage import diff as differences
from kernel_sandbox.storage import state, tree
from kernel_sandbox.storage.compression import open_compressed
from kernel_sandbox.storage.layers import LayerWriter, Tee, Verified
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.pack import pack_diff, pack_rootfs
from kernel_sandbox.storage.staging import Staging, store_errors
from kernel_sandbox.storage.tar import END
from kernel_sandbox.storage.threads import WriteBehind, read_ahead
from kernel_sandbox.storage.unpack import unpack_layer

_CHUNK = 1 << 20
_KILLED, _LOST = 137, 255


A = TypeVar("A", bound=InStore)


def _job(type_: type[A], work: Callable[[A, tuple[int, ...]], object]) -> Callable[[bytes, tuple[int, ...]], bytes]:
    """A function of values as a job's function of bytes."""

    def run(argument: bytes, descriptors: tuple[int, ...]) -> bytes:
        task = msgspec.msgpack.decode(argument, type=type_)
        with store_errors(task.home):
            return encode(work(task, descriptors))

    return run


@contextlib.contextmanager
def _new_layer(paths: Paths) -> Iterator[LayerWriter]:
    with ImageLayout(paths.oci, _staging(paths)).writer() as blob:
        yield LayerWriter(blob)


def _ingest(task: InStore, descriptors: tuple[int, ...]) -> NewLayer:
    """Store the archive in the second descriptor, compressed or not, and unpack it as a bottom layer."""
    paths = task.paths
    with _new_layer(paths) as layer, _staging(paths).directory() as root, open(descriptors[1], "rb", 0) as raw:
        os.chmod(root, 0o755)
        with read_ahead(Tee(open_compressed(raw), layer)) as archive_:
            size = unpack_layer(archive_, root, writable.ownership())
        blob, diff_id = layer.commit()
        _settle(root, paths.layer(Digest(diff_id)))
    return NewLayer(blob.digest, blob.size, diff_id, size)


def _staging(paths: Paths) -> Staging:
    """The place for half-made things, without those that a killed process has left."""
    staging = Staging(paths.staging, remove_tree=tree.remove_tree)
    for path in staging.abandoned():
        tree.remove_tree(path)
    return staging


def _settle(root: str, target: str) -> None:
    """Give an unpacked layer its name; another process may have been faster with the same layer."""
    try:
        os.rename(root, target)
    except OSError:
        if not os.path.isdir(target):
            raise


def _unpack(task: Unpack, descriptors: tuple[int, ...]) -> int:
    """Returns the bytes that the layer takes."""
    paths = task.paths
    target = paths.layer(Digest(task.chain_id))
    layout = ImageLayout(paths.oci, Staging(paths.staging))
    with layout.open(Digest(task.blob)) as blob:
        archive = Verified(open_compressed(blob, task.is_recorded), task.diff_id)
        if os.path.isdir(target):
            while archive.read(_CHUNK):  # other bytes may claim to be the layer that is here
                pass
            return tree.files_size(target)
        with _staging(paths).directory() as root:
            os.chmod(root, 0o755)
            with read_ahead(archive) as archive_:
                size = unpack_layer(archive_, root, writable.ownership())
            _settle(root, target)
    return size


@contextlib.contextmanager
def _written(task: PackDiff | PackRootfs | Diff) -> Iterator[tuple[str, ...]]:
    """The container's upper directory, kept from being removed; none where it was never started. Raises NotFound."""
    files = task.paths.container(task.container)
    found = state.State.at(task.paths.database).container(task.container)
    if found is None:
        raise NotFound(f"No such container: {task.container}")
    if os.path.isdir(files.writable):
        writable.ensure(files, found.options)
    if not os.path.isdir(files.upper):
        yield ()
        return
    try:
        with locks.shared_directory(files.home):
            yield (files.upper,)
    except FileNotFoundError as error:
        raise NotFound(f"No such container: {task.container}") from error


def _pack_diff(task: PackDiff, descriptors: tuple[int, ...]) -> NewLayer:
    """Store what a container has changed; nothing at all where that is nothing, as no image names such a layer."""
    size = 0
    with _new_layer(task.paths) as layer:
        with WriteBehind(layer) as out, _written(task) as written:
            for upper in written:
                pack_diff(upper, out, writable.ownership())
                size = tree.files_size(upper)
            if not written:
                out.write(END)
        if layer.tell() == len(END):
            return NewLayer(EMPTY_LAYER, 0, EMPTY_LAYER, 0)
        blob, diff_id = layer.commit()
    return NewLayer(blob.digest, blob.size, diff_id, size)


def _pack_rootfs(task: PackRootfs, descriptors: tuple[int, ...]) -> None:
    with _written(task) as written:
        try:
            with open(descriptors[1], "wb", buffering=_CHUNK) as out:
                pack_rootfs((*written, *task.layers), out, writable.ownership())
        except OSError as error:
            raise SandboxError(f"cannot write the archive: {(error.strerror or str(error)).lower()}") from error


def _diff(task: Diff, descriptors: tuple[int, ...]) -> tuple[differences.Change, ...]:
    with _written(task) as written:
        return tuple(change for upper in written for change in differences.changes(upper, task.layers))


def _bootstrap(task: Bootstrap, descriptors: tuple[int, ...]) -> NewBase:
    from kernel_sandbox.bootstrap import archive, plan
    from kernel_sandbox.bootstrap.busybox import static_binary

    rootfs = plan.plan_busybox(static_binary()) if task.kind == "busybox" else plan.plan_python()
    with _new_layer(task.paths) as layer:
        archive.write(rootfs, layer)  # type: ignore[arg-type]
        blob, diff_id = layer.commit()
    unpack = Unpack(task.home, task.run, blob.digest, diff_id, diff_id)
    unpacked = NewLayer(blob.digest, blob.size, diff_id, _unpack(unpack, descriptors))
    return NewBase(unpacked, rootfs.env, rootfs.cmd, rootfs.working_dir, rootfs.labels, archive.epoch() * 10**9)


def _remove_trees(task: Trees, descriptors: tuple[int, ...]) -> None:
    for path in task.trees:
        tree.remove_tree(path)


def _measure_trees(task: Trees, descriptors: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(_measured, task.trees))


def _measured(path: str) -> int:
    """The bytes in a tree's files; 0 for one that is not there."""
    try:
        return tree.files_size(path)
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _locked(task: OneContainer) -> Iterator[tuple[state.State, state.Container] | None]:
    """The container with its lock held; None where a monitor has it. Raises NotFound."""
    files = task.paths.container(task.container)
    lock = locks.take(files.lock)
    if lock is None:
        yield None
        return
    try:
        database = state.State.at(task.paths.database)
        found = database.container(task.container)
        if found is None:
            tree.remove_tree(files.home)
            raise NotFound(f"No such container: {task.container}")
        yield database, found
    finally:
        os.close(lock)


def _remove(task: Removal, descriptors: tuple[int, ...]) -> None:
    """Remove a container that does not run. Raises Conflict where it does."""
    with _locked(task) as held:
        if held is None:
            raise Conflict(f"container {task.container[:12]} is running: stop it, or use rm -f")
        database, found = held
        end_processes(found)
        remove_container(task.paths, database, found, task.volumes)


def _mend(task: OneContainer, descriptors: tuple[int, ...]) -> None:
    """Record the end of a container whose monitor was killed, or whose machine went down."""
    with _locked(task) as held:
        if held is None or not held[1].is_active:
            return
        database, found = held
        end_processes(found)
        if found.options.remove:
            remove_container(task.paths, database, found)
        else:
            database.set_exited(found, _KILLED if found.started > _boot_time() else _LOST, False, time.time_ns())


def _boot_time() -> int:
    """When this machine started, in nanoseconds since the epoch (proc_stat(5), btime)."""
    with open("/proc/stat") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("btime")) * 10**9


_JOBS = {
    "supervise": Job(supervise, inside_store_namespace=False),
    "remove": Job(_job(Removal, _remove), inside_store_namespace=False),
    "mend": Job(_job(OneContainer, _mend), inside_store_namespace=False),
    "ingest": Job(_job(InStore, _ingest), ends_with_client=True),
    "load": Job(_job(Load, archive_jobs.load), ends_with_client=True),
    "unpack": Job(_job(Unpack, _unpack), ends_with_client=True),
    "pack_diff": Job(_job(PackDiff, _pack_diff), ends_with_client=True),
    "pack_rootfs": Job(_job(PackRootfs, _pack_rootfs)),
    "diff": Job(_job(Diff, _diff)),
    "copy_out": Job(_job(CopyOut, copy_out), inside_store_namespace=False),
    "copy_in": Job(_job(CopyIn, copy_in), inside_store_namespace=False),
    "bootstrap": Job(_job(Bootstrap, _bootstrap)),
    "remove_trees": Job(_job(Trees, _remove_trees)),
    "measure_trees": Job(_job(Trees, _measure_trees)),
}


@functools.cache
def load_jobs() -> Mapping[str, Job]:
    """Every job by name; what they all need is worked out once, before the processes that do them are forked."""
    prepare()
    gc.freeze()
    return _JOBS
