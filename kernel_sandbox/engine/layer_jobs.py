"""Jobs on layers: packed, unpacked, compared, measured, removed, each as root among the owners of their files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from kernel_sandbox.engine import locks, writable
from kernel_sandbox.engine.job import job
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.tasks import (
    Bootstrap,
    Diff,
    InStore,
    NewBase,
    NewLayer,
    PackDiff,
    PackRootfs,
    Trees,
    Unpack,
    Unpacked,
)
from kernel_sandbox.errors import NotFound, SandboxError
from kernel_sandbox.spec.derivation import EMPTY_LAYER
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.storage import diff as differences
from kernel_sandbox.storage import pack, tree
from kernel_sandbox.storage.compression import open_compressed
from kernel_sandbox.storage.layers import LayerWriter, Tee, Verified
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging
from kernel_sandbox.storage.tar import END
from kernel_sandbox.storage.threads import WriteBehind, read_ahead
from kernel_sandbox.storage.unpack import unpack_layer

_CHUNK = 1 << 20


@contextlib.contextmanager
def _new_layer(paths: Paths) -> Iterator[LayerWriter]:
    with ImageLayout(paths.oci, _staging(paths)).writer() as blob:
        yield LayerWriter(blob)


@job(InStore, adds=True)
def ingest(task: InStore, descriptors: tuple[int, ...]) -> NewLayer:
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
    staging.clear()
    return staging


def _settle(root: str, target: str) -> None:
    """Give an unpacked layer its name; another process may have been faster with the same layer."""
    try:
        os.rename(root, target)
    except OSError:
        if not os.path.isdir(target):
            raise


@job(Unpack, adds=True)
def unpack(task: Unpack, descriptors: tuple[int, ...]) -> Unpacked:
    """Unpack a stored layer."""
    return _unpack(task)


def _unpack(task: Unpack) -> Unpacked:
    paths = task.paths
    target = paths.layer(Digest(task.chain_id))
    layout = ImageLayout(paths.oci, Staging(paths.staging))
    with layout.open(Digest(task.blob)) as blob:
        archive = Verified(open_compressed(blob, task.is_trusted), task.diff_id)
        if os.path.isdir(target):
            while archive.read(_CHUNK):  # other bytes may claim to be the layer that is here
                pass
            return Unpacked(tree.files_size(target), archive.length)
        with _staging(paths).directory() as root:
            os.chmod(root, 0o755)
            with read_ahead(archive) as archive_:
                size = unpack_layer(archive_, root, writable.ownership())
            _settle(root, target)
    return Unpacked(size, archive.length)


@contextlib.contextmanager
def _written(task: PackDiff) -> Iterator[tuple[str, ...]]:
    """The container's upper directory, kept from being removed; none where nothing was written. Raises NotFound."""
    files = task.paths.container(task.container)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.shared_directory(files.home))
        except FileNotFoundError as error:
            if task.was_started:
                raise NotFound(f"No such container: {task.container}") from error
        if os.path.isdir(files.writable):
            writable.ensure(files, task.storage_size)
        yield (files.upper,) if os.path.isdir(files.upper) else ()


@job(PackDiff, adds=True)
def pack_diff(task: PackDiff, descriptors: tuple[int, ...]) -> NewLayer:
    """Store what a container has changed; nothing at all where that is nothing, as no image names such a layer."""
    size = 0
    with _new_layer(task.paths) as layer:
        with WriteBehind(layer) as out, _written(task) as written:
            for upper in written:
                pack.pack_diff(upper, out, writable.ownership())
                size = tree.files_size(upper)
            if not written:
                out.write(END)
        if layer.tell() == len(END):
            return NewLayer(EMPTY_LAYER, 0, EMPTY_LAYER, 0)
        blob, diff_id = layer.commit()
    return NewLayer(blob.digest, blob.size, diff_id, size)


@job(PackRootfs)
def pack_rootfs(task: PackRootfs, descriptors: tuple[int, ...]) -> None:
    with _written(task) as written:
        try:
            with open(descriptors[1], "wb", buffering=_CHUNK) as out:
                pack.pack_rootfs((*written, *task.layers), out, writable.ownership())
        except OSError as error:
            raise SandboxError(f"cannot write the archive: {(error.strerror or str(error)).lower()}") from error


@job(Diff)
def diff(task: Diff, descriptors: tuple[int, ...]) -> tuple[differences.Change, ...]:
    with _written(task) as written:
        return tuple(change for upper in written for change in differences.changes(upper, task.layers))


@job(Bootstrap, adds=True)
def bootstrap(task: Bootstrap, descriptors: tuple[int, ...]) -> NewBase:
    from kernel_sandbox.bootstrap import archive, plan
    from kernel_sandbox.bootstrap.busybox import static_binary

    rootfs = plan.plan_busybox(static_binary()) if task.kind == "busybox" else plan.plan_python()
    with _new_layer(task.paths) as layer:
        archive.write(rootfs, layer)  # type: ignore[arg-type]
        blob, diff_id = layer.commit()
    wanted = Unpack(task.home, task.run, blob.digest, diff_id, diff_id)
    unpacked = NewLayer(blob.digest, blob.size, diff_id, _unpack(wanted).size)
    return NewBase(unpacked, rootfs.env, rootfs.cmd, rootfs.working_dir, rootfs.labels, archive.epoch() * 10**9)


@job(Trees)
def remove_layers(task: Trees, descriptors: tuple[int, ...]) -> None:
    """Remove layers, and what killed processes have half made.

    All layers lose their names first, so that nobody meets half of one; until then the second descriptor is the store's
    lock, held alone even if the client is killed.
    """
    staging = Staging(task.paths.staging, remove_tree=tree.remove_tree)
    with staging.directory() as place:
        for path in task.trees:
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, os.path.join(place, os.path.basename(path)))
        os.close(descriptors[1])
    staging.clear()


@job(Trees)
def remove_trees(task: Trees, descriptors: tuple[int, ...]) -> None:
    for path in task.trees:
        tree.remove_tree(path)


@job(Trees)
def measure_trees(task: Trees, descriptors: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(_measured, task.trees))


def _measured(path: str) -> int:
    """The bytes in a tree's files; 0 for one that is not there."""
    try:
        return tree.files_size(path)
    except FileNotFoundError:
        return 0
