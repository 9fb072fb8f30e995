"""The container of one kernel, with its directory of sockets: made, started again and again, and removed.

The root filesystem outlives a restart of the kernel and goes with its shutdown, or with its owner's exit (`jupyter
console` ends without a word to its provisioner). What a killed server could not remove, the next kernel on the same
store does: a lock file beside the directory tells whether its owner lives.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Mapping

import msgspec

from kernel_sandbox.bootstrap.plan import python_reference
from kernel_sandbox.engine import Engine, locks
from kernel_sandbox.engine.attachment import Attachment
from kernel_sandbox.errors import Conflict, NotFound, SandboxError
from kernel_sandbox.jupyter import init, plan
from kernel_sandbox.jupyter.plan import Connection, KernelSettings

_PREFIX = "kernel-"
_LOCK = ".lock"


def ensure_image(engine: Engine, name: str, say: Callable[[str], object]) -> None:
    """Make the embedded Python image where it is wanted and missing; *say* is told, since that takes seconds."""
    try:
        engine.images.find(name)
    except NotFound:
        if name != python_reference():
            raise
        say(f"Making the image {name} from this machine's Python: this happens once and takes some seconds")
        engine.images.bootstrap("python")


class KernelContainer:
    """A kernel's container before, between and after its runs. Leaving it as a context manager removes everything."""

    def __init__(self, engine: Engine) -> None:
        engine.paths.ensure_run()
        _sweep(engine)
        self._engine = engine
        self.name = _PREFIX + secrets.token_hex(4)
        self._directory = os.path.join(engine.paths.run, self.name)
        self.socket_prefix = plan.socket_prefix(self._directory)
        lock = locks.take(self._directory + _LOCK)
        if lock is None:
            raise Conflict(f"another kernel is called {self.name}: try again")
        self._lock: int | None = lock
        self._id = ""
        os.makedirs(os.path.join(self._directory, plan.SOCKETS), mode=0o700)
        os.chmod(self._directory, 0o700)
        shutil.copyfile(init.__file__, os.path.join(self._directory, plan.INIT))
        atexit.register(self.remove)

    def __enter__(self) -> KernelContainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def start(
        self,
        settings: KernelSettings,
        connection: Connection,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        cwd: str,
    ) -> Attachment:
        """Start the kernel, in the root filesystem it had before where there was one.

        Raises what ``Containers.create`` and ``start`` raise.
        """
        with open(os.path.join(self._directory, plan.CONNECTION_FILE), "wb") as file:
            os.chmod(file.fileno(), 0o600)
            file.write(msgspec.json.encode(connection.inside()))
        if not self._id:
            wanted = plan.container_options(settings, self.name, self._directory, arguments, environment, cwd)
            self._id = self._engine.containers.create(wanted).id
        return self._engine.containers.start(self._id, foreground=True)

    def remove(self) -> None:
        """Remove the container, a running one too, and its directory. Removing twice does no harm."""
        if self._lock is None:
            return
        atexit.unregister(self.remove)
        _remove(self._engine, self._directory)
        os.close(self._lock)
        self._lock = None


def _sweep(engine: Engine) -> None:
    """Remove what is left of kernels whose owner was killed."""
    for name in os.listdir(engine.paths.run):
        path = os.path.join(engine.paths.run, name)
        if not name.startswith(_PREFIX) or not name.endswith(_LOCK) or locks.is_held(path):
            continue
        lock = locks.take(path)
        if lock is None:
            continue
        try:
            _remove(engine, path.removesuffix(_LOCK))
        except SandboxError:
            continue  # what cannot be removed now is no reason not to start a kernel
        finally:
            os.close(lock)


def _remove(engine: Engine, directory: str) -> None:
    """Remove the container that is called as its directory is, the directory, and the lock last."""
    with contextlib.suppress(NotFound):
        engine.containers.remove(os.path.basename(directory), force=True)
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(directory + _LOCK)
    engine.paths.drop_empty_run()
