"""Carrying out a mount plan on one root, from the outside: each target is resolved beneath it by descriptor.

Runs where the host's files are still in reach. What is mounted comes from descriptors or from paths that the engine
chose, never from names that an image can redirect (openat2(2) RESOLVE_IN_ROOT). Which root that is, is ``rootfs``'s.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kernel_sandbox.errors import ContainerStartError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import devices
from kernel_sandbox.spec import mounts

DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
_DEFAULT_MODE = 0o755
_MAX_LINKS = 10
_SEALED = {"proc", "sysfs"}


def open_tree(path: str, userns: int | None = None) -> int:
    """A detached copy of the mount tree at *path*, its owners shifted into *userns* where one is given.

    A filesystem that knows no id-mapped mounts keeps its owners (mount_setattr(2), EINVAL).
    """
    try:
        flags = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE
        tree = syscalls.open_tree(syscalls.AT_FDCWD, path, flags)
        # A copy of a shared mount is its peer: what is mounted below it inside would be mounted on the host.
        syscalls.mount_setattr(tree, 0, syscalls.AT_RECURSIVE, propagation=syscalls.MS_SLAVE)
    except OSError as error:
        raise ContainerStartError(f"cannot mount {path}: {error.strerror}") from error
    if userns is not None:
        try:
            syscalls.mount_setattr(tree, syscalls.MOUNT_ATTR_IDMAP, syscalls.AT_RECURSIVE, userns)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
    return tree


def attach(mount: int, target: int) -> None:
    """Place a detached mount; both descriptors are closed."""
    try:
        syscalls.move_mount(mount, target)
    finally:
        os.close(mount)
        os.close(target)


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """Close it in the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Builder:
    """Carries out a mount plan on one root."""

    def __init__(
        self,
        root: int,
        sources: Mapping[str, int],
        devices: Mapping[str, int],
        null: int,
        cgroup_mounts: Mapping[str, str],
    ) -> None:
        self._root = root
        self._sources = sources
        self._devices = devices
        self._null = null
        self._sealed: set[int] = set()
        self._dev: os.stat_result | None = None
        self._cgroup_mounts = cgroup_mounts

    def carry_out(self, operation: mounts.MountOp) -> None:
        try:
            self._carry_out(operation)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ContainerStartError(f"cannot set up {operation.target}: {reason}") from error

    def _carry_out(self, operation: mounts.MountOp) -> None:
        match operation:
            case mounts.NewFilesystem(target, fstype, attributes, options):
                self._mount(target, fstype, attributes, dict(options))
            case mounts.Memory(target, attributes, options):
                self._memory(target, attributes, dict(options))
            case mounts.BindMount():
                self._bind(operation)
            case mounts.SharedMemory(target, pid, attributes):
                memory = devices.shared_memory(pid)
                syscalls.mount_setattr(memory, attributes)
                attach(memory, self._directory(target))
            case mounts.ControlGroups(target, attributes):
                self._control_groups(target, attributes)
            case mounts.DeviceNode(target):
                name = os.path.basename(target)
                attach(self._devices[name], self._file(target))
            case mounts.SymbolicLink(target, content, may_dangle):
                self._link(target, content, may_dangle)
            case mounts.Directory(target):
                os.close(self._made_directory(target))
            case mounts.KernelParameter(target, value):
                self._set_parameter(target, value)
            case mounts.Mask(target):
                self._mask(target)
            case mounts.Protect(target):
                self._protect(target)

    def _resolve(self, path: str, flags: int = os.O_PATH, resolve: int = 0) -> int:
        """A descriptor of *path* inside the root; magic links such as /proc/self/root are refused."""
        resolve |= syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
        return syscalls.openat2(self._root, path, flags, resolve=resolve)

    def _directory(self, path: str) -> int:
        """A mount target for a filesystem of the kernel's: a real directory, made where it is missing."""
        return self._made_directory(path, syscalls.RESOLVE_NO_SYMLINKS)

    def _made_directory(self, path: str, resolve: int = 0, links: int = _MAX_LINKS) -> int:
        """A directory, made with those above it where they are missing; a dangling link's target is made."""
        try:
            return self._resolve(path, DIRECTORY, resolve)
        except FileNotFoundError:
            with self._parent(path) as parent:
                name = os.path.basename(path.rstrip("/"))
                try:
                    os.mkdir(name, _DEFAULT_MODE, dir_fd=parent)
                except FileExistsError:
                    target = self._dangling(path, parent, links)
                    os.close(self._made_directory(target, resolve, links - 1))
            return self._resolve(path, DIRECTORY, resolve)

    def _file(self, path: str, links: int = _MAX_LINKS) -> int:
        """A mount target for a file, made empty where it is missing; a dangling link's target is made."""
        try:
            return self._resolve(path)
        except FileNotFoundError:
            with self._parent(path) as parent:
                try:
                    os.close(os.open(os.path.basename(path), NEW_FILE, 0o644, dir_fd=parent))
                except FileExistsError:
                    os.close(self._file(self._dangling(path, parent, links), links - 1))
            return self._resolve(path)

    def _dangling(self, path: str, parent: int, links: int) -> str:
        """Where the symbolic link at *path* leads, inside the root."""
        if not links:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(os.path.basename(path.rstrip("/")), dir_fd=parent)
        return os.path.normpath(os.path.join("/", os.path.dirname(path.rstrip("/")), target))

    @contextmanager
    def _parent(self, path: str) -> Iterator[int]:
        descriptor = self._made_directory(os.path.dirname(path.rstrip("/")) or "/")
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _bind(self, bind: mounts.BindMount) -> None:
        source, target = bind.source, bind.target
        tree = self._sources[target] if target in self._sources else open_tree(source, None)
        propagation = 0 if bind.follows else syscalls.MS_PRIVATE
        syscalls.mount_setattr(tree, bind.attributes, syscalls.AT_RECURSIVE, propagation=propagation)
        is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        place = self._made_directory(target) if is_directory else self._file(target)
        if bind.is_kernels:
            self._sealed.add(os.fstat(tree).st_dev)
        else:
            self._refuse_if_sealed(place, source, target)
        attach(tree, place)

    def _memory(self, target: str, attributes: int, options: dict[str, str | None]) -> None:
        try:
            with closing(self._resolve(target)) as covered:
                usual = {"mode": f"{stat.S_IMODE(os.fstat(covered).st_mode):o}"}
        except FileNotFoundError:
            usual = {}
        place = self._made_directory(target)
        self._refuse_if_sealed(place, "a tmpfs", target)
        attach(syscalls.fsmount("tmpfs", {**usual, **options}, attributes), place)

    def _mount(self, target: str, fstype: str, attributes: int, options: dict[str, str | None]) -> None:
        attach(syscalls.fsmount(fstype, options, attributes), self._directory(target))
        with closing(self._resolve(target, DIRECTORY)) as mounted:
            status = os.fstat(mounted)
        if fstype in _SEALED:
            self._sealed.add(status.st_dev)
        if target == "/dev":
            self._dev = status

    def _refuse_if_sealed(self, place: int, source: str, target: str) -> None:
        if self._is_sealed(place):
            os.close(place)
            raise ContainerStartError(
                f"cannot mount {source} on {target}: that is in /proc or /sys, or all of /dev or of the root"
            )

    def _is_sealed(self, place: int) -> bool:
        """Whether it lies in proc or sysfs, or is /dev or the root itself, whatever name led there."""
        status = os.fstat(place)
        whole = (os.fstat(self._root), *([self._dev] if self._dev else []))
        return status.st_dev in self._sealed or any(os.path.samestat(status, each) for each in whole)

    def _link(self, target: str, content: str, may_dangle: bool) -> None:
        if not may_dangle and not self._exists(content):
            return
        with self._parent(target) as parent:
            os.symlink(content, os.path.basename(target), dir_fd=parent)

    def _exists(self, path: str) -> bool:
        with self._existing(path) as place:
            return place is not None

    def _control_groups(self, target: str, attributes: int) -> None:
        if not self._cgroup_mounts:
            attach(syscalls.fsmount("cgroup2", {}, attributes), self._directory(target))
            return
        holder = syscalls.fsmount("tmpfs", {"mode": "755"}, attributes & ~mounts.RDONLY)
        attach(holder, self._directory(target))
        for name, options in self._cgroup_mounts.items():
            pairs = (option.partition("=") for option in options.split(","))
            settings = {key: value if equals else None for key, equals, value in pairs}
            hierarchy = syscalls.fsmount("cgroup", settings, attributes)
            attach(hierarchy, self._made_directory(f"{target}/{name}"))
        with closing(self._resolve(target, DIRECTORY)) as top:
            syscalls.mount_setattr(top, syscalls.MOUNT_ATTR_RDONLY)

    def _set_parameter(self, target: str, value: str) -> None:
        """Written through the container's own proc: the mount just made, with nothing put over it."""
        with self._existing("/proc") as proc:
            assert proc is not None
            resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_NO_SYMLINKS
            descriptor = syscalls.openat2(proc, target.removeprefix("/proc/"), os.O_WRONLY, resolve=resolve)
            with open(descriptor, "w") as file:
                file.write(value)

    def _mask(self, target: str) -> None:
        with self._existing(target) as place:
            if place is None:
                return
            if stat.S_ISDIR(os.fstat(place).st_mode):
                cover = syscalls.fsmount("tmpfs", {"size": "0k"}, mounts.RDONLY)
            else:
                cover = syscalls.open_tree(self._null, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH)
                syscalls.mount_setattr(cover, syscalls.MOUNT_ATTR_RDONLY)
            attach(cover, os.dup(place))

    def _protect(self, target: str) -> None:
        with self._existing(target) as place:
            if place is None:
                return
            flags = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE | syscalls.AT_EMPTY_PATH
            copy = syscalls.open_tree(place, "", flags)
            syscalls.mount_setattr(copy, syscalls.MOUNT_ATTR_RDONLY, syscalls.AT_RECURSIVE)
            attach(copy, os.dup(place))

    @contextmanager
    def _existing(self, path: str) -> Iterator[int | None]:
        try:
            place = self._resolve(path, resolve=syscalls.RESOLVE_NO_SYMLINKS)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        with closing(place):
            yield place
