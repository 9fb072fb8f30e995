"""Where everything lies: the store under one home, and what lives no longer than the machine's uptime."""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from collections.abc import Iterator, Mapping

import msgspec

from kernel_sandbox.errors import HostError
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.storage.staging import Staging, store_errors

_NAME = "kernel-sandbox"
_RESERVE = 1 << 20


class Paths(msgspec.Struct, frozen=True):
    """A store: ``home`` holds it all; ``run`` has a short path, for what needs one (the sockets of kernels)."""

    home: str
    run: str

    @classmethod
    def of(cls, home: str | None = None, environment: Mapping[str, str] = os.environ) -> Paths:
        """The store that was asked for, by *home* or by KERNEL_SANDBOX_HOME, else the caller's usual one."""
        chosen = os.path.abspath(home or environment.get("KERNEL_SANDBOX_HOME") or _usual_home(environment))
        if not chosen.isprintable():
            raise HostError(f"KERNEL_SANDBOX_HOME is {chosen!r}: choose a path of printable characters")
        key = zlib.crc32(os.fsencode(os.path.realpath(chosen)))
        return cls(chosen, os.path.join(_usual_run(environment), f"{key:08x}"))

    @property
    def database(self) -> str:
        return os.path.join(self.home, "state.db")

    @property
    def oci(self) -> str:
        return os.path.join(self.home, "oci")

    @property
    def staging(self) -> str:
        return os.path.join(self.home, "staging")

    @property
    def cache(self) -> str:
        return os.path.join(self.home, "cache")

    @property
    def lock(self) -> str:
        """Held exclusively by whoever removes layers and blobs, shared by whoever adds some."""
        return os.path.join(self.home, "lock")

    @property
    def pledges(self) -> str:
        """A file for each process that is adding layers or blobs; one whose maker is gone tells of garbage."""
        return os.path.join(self.home, "adding")

    @property
    def layers(self) -> str:
        return os.path.join(self.home, "layers")

    @property
    def skeleton(self) -> str:
        """The layer below every image: the mount points that a container needs (Docker's init layer)."""
        return os.path.join(self.home, "skeleton")

    def layer(self, chain_id: Digest) -> str:
        """Where the layer with this chain id is unpacked; whole if it exists."""
        return os.path.join(self.layers, chain_id.hex)

    def container(self, id_: str) -> ContainerPaths:
        return ContainerPaths(os.path.join(self.home, "containers", id_))

    def volume(self, name: str) -> VolumePaths:
        return VolumePaths(os.path.join(self.home, "volumes", name))

    @property
    def reserve(self) -> str:
        """Space that is given back on a full disk, so that something can be removed then."""
        return os.path.join(self.home, "reserve")

    def ensure(self) -> None:
        """Make the store's directories, for the caller alone. Raises StoreError."""
        with store_errors(self.home):
            os.makedirs(self.home, mode=0o700, exist_ok=True)
            for name in ("layers", "containers", "cache"):
                os.makedirs(os.path.join(self.home, name), exist_ok=True)

    def ensure_skeleton(self) -> None:
        """Make the skeleton, which comes last: where it is, the store is complete. Raises StoreError."""
        with Staging(self.staging).directory() as half, store_errors(self.skeleton):
            _fill_skeleton(half)
            try:
                os.rename(half, self.skeleton)
            except OSError:  # another process may have been faster
                if not os.path.isdir(self.skeleton):
                    raise

    def ensure_reserve(self) -> None:
        """Set the reserve aside where there is room for it."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.reserve, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, _RESERVE)
            except OSError:
                os.unlink(self.reserve)
            finally:
                os.close(descriptor)

    def release_reserve(self) -> bool:
        """Give the reserve back to the disk; whether there was one."""
        try:
            os.unlink(self.reserve)
        except FileNotFoundError:
            return False
        return True

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """Around the removal of something: where the disk is full, the reserve is given back for that time."""
        with store_errors(self.home):
            status = os.statvfs(self.home)
            is_released = status.f_bavail * status.f_frsize < _RESERVE and self.release_reserve()
        try:
            yield
        finally:
            if is_released:
                self.ensure_reserve()

    def ensure_run(self) -> None:
        """Make ``run``, for the caller alone. Raises HostError where it cannot be, or another user holds the place."""
        try:
            for directory in (os.path.dirname(self.run), self.run):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory, 0o700)
                status = os.lstat(directory)
                if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
                    raise HostError(f"{directory} belongs to another user: set XDG_RUNTIME_DIR to your own")
        except OSError as error:
            raise HostError(f"cannot make {self.run}: {error.strerror}: set XDG_RUNTIME_DIR to your own") from error

    def drop_empty_run(self) -> None:
        """Remove ``run`` if nothing is in it."""
        with contextlib.suppress(OSError):
            os.rmdir(self.run)
            os.rmdir(os.path.dirname(self.run))


class ContainerPaths(msgspec.Struct, frozen=True):
    """One container's files, in its own directory."""

    home: str

    @property
    def config(self) -> str:
        return os.path.join(self.home, "config.json")

    @property
    def writable(self) -> str:
        """What is mounted as the container's writable layer: ``upper`` and ``work``."""
        return os.path.join(self.home, "rw")

    @property
    def image(self) -> str:
        """The file with the filesystem that is mounted at ``writable`` where the container has a quota."""
        return f"{self.writable}.img"

    @property
    def upper(self) -> str:
        return os.path.join(self.writable, "upper")

    @property
    def work(self) -> str:
        return os.path.join(self.writable, "work")

    @property
    def log(self) -> str:
        """The directory with all that the container wrote (``runtime.log``)."""
        return os.path.join(self.home, "logs")

    def environment_file(self, name: str) -> str:
        """The container's own hosts, hostname or resolv.conf."""
        return os.path.join(self.home, name)

    @property
    def lock(self) -> str:
        """Held by the monitor for as long as it lives, and by whoever changes a container that does not run.

        It lies in the store, not with the machine's runtime files: those differ between a login shell and a service,
        and are cleaned away under a container that runs.
        """
        return os.path.join(self.home, "lock")

    @property
    def socket(self) -> str:
        """Where the monitor listens."""
        return os.path.join(self.home, "socket")


class VolumePaths(msgspec.Struct, frozen=True):
    """One volume's files, in its own directory."""

    home: str

    @property
    def data(self) -> str:
        """What containers see."""
        return os.path.join(self.home, "_data")

    @property
    def lock(self) -> str:
        """Held while a container is started that fills the volume should it be empty."""
        return os.path.join(self.home, "lock")

    def ensure(self) -> None:
        """Make the volume's directories where they are missing."""
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        try:
            os.mkdir(self.data)
        except FileExistsError:
            return
        os.chmod(self.data, 0o755)


def _usual_home(environment: Mapping[str, str]) -> str:
    if os.geteuid() == 0:
        return f"/var/lib/{_NAME}"
    base = environment.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    if not base.startswith("/"):
        raise HostError("this user has no home directory: set KERNEL_SANDBOX_HOME to where containers are to be kept")
    return os.path.join(base, _NAME)


def _usual_run(environment: Mapping[str, str]) -> str:
    base = "/run" if os.geteuid() == 0 else environment.get("XDG_RUNTIME_DIR", "")
    if base and os.access(base, os.W_OK | os.X_OK):
        return os.path.join(base, _NAME)
    return f"/tmp/{_NAME}-{os.geteuid()}"


_MOUNT_POINTS = ("proc", "sys", "dev", "etc")
_MOUNT_FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf")


def _fill_skeleton(path: str) -> None:
    for name in ("", *_MOUNT_POINTS):
        os.makedirs(os.path.join(path, name), exist_ok=True)
        os.chmod(os.path.join(path, name), 0o755)
    for name in _MOUNT_FILES:
        with open(os.path.join(path, name), "w"):
            os.chmod(os.path.join(path, name), 0o644)
