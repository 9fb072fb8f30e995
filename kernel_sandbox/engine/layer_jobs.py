"""Jobs on layers: packed, unpacked, compared, measured, removed, each as root among the owners of their files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from kernel_sandbox.engine import locks, writable
from kernel_sandbox.engine.job import job
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.tasks import Bootstrap, Diff, InStore, NewBase, NewLayer, PackDiff, PackRootfs, Trees, Unpack
from kernel_sandbox.errors import NotFound, SandboxError
from kernel_sandbox.spec.derivation import EMPTY_LAYER
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.storage import diff as differences
from kernel_sandbox.storage import pack, state, tree
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


@job(InStore)
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


@job(Unpack)
def unpack(task: Unpack, descriptors: tuple[int, ...]) -> int:
    """Unpack a stored layer; returns the bytes that it takes."""
    return _unpack(task)


def _unpack(task: Unpack) -> int:
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


@job(PackDiff)
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


@job(Bootstrap)
def bootstrap(task: Bootstrap, descriptors: tuple[int, ...]) -> NewBase:
    from kernel_sandbox.bootstrap import archive, plan
    from kernel_sandbox.bootstrap.busybox import static_binary

    rootfs = plan.plan_busybox(static_binary()) if task.kind == "busybox" else plan.plan_python()
    with _new_layer(task.paths) as layer:
        archive.write(rootfs, layer)  # type: ignore[arg-type]
        blob, diff_id = layer.commit()
    wanted = Unpack(task.home, task.run, blob.digest, diff_id, diff_id)
    unpacked = NewLayer(blob.digest, blob.size, diff_id, _unpack(wanted))
    return NewBase(unpacked, rootfs.env, rootfs.cmd, rootfs.working_dir, rootfs.labels, archive.epoch() * 10**9)


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
