"""The container's side of ``cp``: jobs that pack a part of its files, or unpack an archive among them.

Both work on a view of the files (``runtime.view``) and know of the caller's machine nothing but a descriptor. The
other side is ``copying``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from kernel_sandbox.engine import locks, mounted, writable
from kernel_sandbox.engine.job import job
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.engine.tasks import CopyIn, CopyOut, PartOfContainer
from kernel_sandbox.errors import Conflict, NotFound, SandboxError
from kernel_sandbox.runtime import ids, view
from kernel_sandbox.runtime.rootfs import TreePaths
from kernel_sandbox.spec import copying, mounts
from kernel_sandbox.spec.options import Bind
from kernel_sandbox.storage import places, state, tar
from kernel_sandbox.storage.compression import import_decompressors, open_compressed
from kernel_sandbox.storage.pack import pack_tree
from kernel_sandbox.storage.transfer import Destination, Owners, unpack_tree

_ATTEMPTS = 40
_PAUSE = 0.05
_OF_THE_KERNEL = ("/dev", "/proc", "/sys")


@job(CopyOut)
def copy_out(task: CopyOut, descriptors: tuple[int, ...]) -> None:
    """Pack what the path leads to into the second descriptor. Raises NotFound, SandboxError."""
    path = copying.parse_path(os.fsdecode(task.path))

    def work(root: int) -> None:
        place = places.Root(root, places.INSIDE, lambda _: _missing(task, os.fsdecode(task.path)))
        with place.source(path, task.follows_link, keeps_name=not task.is_stream) as (fd, name):
            out = _Output(descriptors[1])
            try:
                pack_tree(fd, name, out, writable.ownership(), keeps_holes=not task.is_stream)
                out.flush()
            except PermissionError as error:
                where = os.fsdecode(error.filename or task.path)
                raise SandboxError(f"cannot read {where}: permission denied") from error

    _look(task, work, descriptors[0])


@job(CopyIn)
def copy_in(task: CopyIn, descriptors: tuple[int, ...]) -> None:
    """Unpack the archive in the second descriptor where the path leads. Raises NotFound, SandboxError."""
    owners = Owners.ARCHIVE if task.is_stream or task.keeps_owners else Owners.ROOT
    if task.is_stream:
        import_decompressors()  # inside nothing can be imported

    def work(root: int) -> None:
        place = places.Root(root, places.INSIDE, lambda missing: _missing(task, missing))
        found = _destination(task, place)
        if task.is_stream:
            _check_target(place, found.path.text)

        def choose(first: tar.Entry) -> Destination:
            if task.is_stream:
                return Destination(root, found.path.text, None, is_inside=True, shown=found.path.text)
            directory, name = found.split(first.kind is tar.Kind.DIRECTORY)
            _check_target(place, directory)
            return Destination(root, directory, name, is_inside=True, shown=directory)

        with open(descriptors[1], "rb", closefd=False) as raw:
            unpack_tree(open_compressed(raw) if task.is_stream else raw, choose, owners, writable.ownership())

    _look(task, work, descriptors[0])


def _destination(task: CopyIn, place: places.Root) -> places.Found:
    found = place.destination(copying.parse_path(os.fsdecode(task.path)))
    where = f'destination "{task.key}:{os.fsdecode(task.path)}" must be a directory'
    if found.is_device:
        raise SandboxError(f"{where} or a regular file: got a device")
    if task.is_stream and not found.is_directory:
        raise SandboxError(where)
    return found


def _check_target(place: places.Root, directory: str) -> None:
    """Whether something can be made in the directory. Raises NotFound, SandboxError."""
    with place.opened(directory) as fd:
        status = os.fstat(fd)
        if not os.path.isdir(f"/proc/self/fd/{fd}"):
            raise SandboxError("extraction point is not a directory")
        if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            what = "container rootfs" if status.st_dev == os.fstat(place.fd).st_dev else "mounted volume"
            raise SandboxError(f"{what} is marked read-only")


def _missing(task: PartOfContainer, path: str) -> NotFound:
    return NotFound(f"Could not find the file {path} in container {task.key}")


class _Output:
    """The archive on its way out. What goes wrong with that is no fault of the container's files."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending = bytearray()

    def write(self, data: bytes) -> int:
        self._pending += data
        if len(self._pending) >= tar.CHUNK:
            self.flush()
        return len(data)

    def flush(self) -> None:
        try:
            with memoryview(self._pending) as rest:
                written = 0
                while written < len(rest):
                    written += os.write(self._descriptor, rest[written:])
        except OSError as error:
            raise SandboxError(f"cannot write the archive: {(error.strerror or str(error)).lower()}") from error
        self._pending.clear()


def _look(task: PartOfContainer, work: Callable[[int], None], client: int) -> None:
    """Call *work* with a root of the container's files, running or not. Raises NotFound, Conflict.

    A container that does not run is kept from being started meanwhile, any from being removed.
    """
    paths = task.paths
    files = paths.container(task.container)
    for _ in range(_ATTEMPTS):
        found = state.State.at(paths.database).container(task.container)
        if found is None:
            break
        if found.status in (state.Status.RUNNING, state.Status.PAUSED):
            with contextlib.suppress(view.HasEnded, FileNotFoundError), locks.shared_directory(files.home):
                view.look(_running(task, found), work, client)
                return
        elif found.status is not state.Status.RESTARTING and (lock := locks.take(files.lock)) is not None:
            try:
                with _stopped(task, found) as stopped:
                    view.look(stopped, work, client)
                return
            finally:
                os.close(lock)
        time.sleep(_PAUSE)
    else:
        raise Conflict(f"container {task.key} is in use: it is being started, or others copy its files: try again")
    raise NotFound(f"No such container: {task.key}")


def _running(task: PartOfContainer, container: state.Container) -> view.View:
    binds = _binds(task.paths, container)
    trees = TreePaths((), "", {bind.target: bind.source for bind in binds})
    process = view.Running(container.pid, container.pid_start)
    return _view(container, trees, binds, process)


@contextlib.contextmanager
def _stopped(task: PartOfContainer, container: state.Container) -> Iterator[view.View]:
    """What a start would mount; a container that was never started has its volumes filled."""
    files = task.paths.container(container.id)
    mounted.make_directories(files, container.options)
    binds = _binds(task.paths, container)
    unfilled = [each for each in container.options.volumes if each.copies and not container.started]
    with contextlib.ExitStack() as stack:
        for volume in container.options.volumes:
            task.paths.volume(volume.name).ensure()
        for name in sorted({each.name for each in unfilled}):
            stack.enter_context(locks.exclusive(task.paths.volume(name).lock))
        sources = {bind.target: bind.source for bind in binds}
        targets = tuple(each.target for each in unfilled if each.target in sources)
        yield _view(container, TreePaths(task.layers, files.writable, sources, targets), binds, None)


def _view(
    container: state.Container, trees: TreePaths, binds: tuple[Bind, ...], running: view.Running | None
) -> view.View:
    operations = tuple(
        mounts.BindMount(bind.target, bind.source, mounts.RDONLY if bind.readonly else 0) for bind in binds
    )
    maps = ids.container_maps(container.slot)
    return view.View(trees, operations, maps, running, container.options.readonly)


def _binds(paths: Paths, container: state.Container) -> tuple[Bind, ...]:
    """What of the host's is seen in the container, the outer before the inner: binds, volumes, its /etc/hosts.

    Not what lies in a filesystem of the kernel's or in memory: that is no part of the view.
    """
    options, files = container.options, paths.container(container.id)
    everything = (*mounted.environment(files), *options.binds, *mounted.volumes(paths, options))
    asked = {bind.target: bind for bind in everything}
    hidden = (*_OF_THE_KERNEL, *(each.target for each in options.tmpfs))
    seen = [
        bind
        for bind in asked.values()
        if not any(f"{bind.target}/".startswith(f"{place}/") for place in hidden) and os.path.exists(bind.source)
    ]
    return tuple(sorted(seen, key=lambda bind: bind.target.count("/")))
