"""A store of its own for a test, a notebook or a benchmark, driven through the command line.

Only the installed command is used here: nothing is imported from the product.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from support import forks

COMMAND = str(Path(sys.executable).with_name("kernel-sandbox"))
BUSYBOX = "busybox"
PYTHON = f"localhost/python:{sys.version_info.major}.{sys.version_info.minor}"

# Not /tmp: where that is a tmpfs, Linux before 6.6 gives it no user xattrs, which overlayfs needs.
SCRATCH = os.environ.get("TMPDIR", "/var/tmp")


class Store:
    """One ``KERNEL_SANDBOX_HOME`` and the command line that works on it."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def containers(self) -> frozenset[str]:
        """The ids of all containers, read from the database itself."""
        path = self.home / "state.db"
        if not path.exists():
            return frozenset()
        with closing(sqlite3.connect(path)) as database:
            return frozenset(row[0] for row in database.execute("SELECT id FROM containers"))

    def has_container(self, name: str) -> bool:
        """Whether there is a container of this name, read from the database itself."""
        with closing(sqlite3.connect(self.home / "state.db")) as database:
            return bool(database.execute("SELECT 1 FROM containers WHERE name = ?", (name,)).fetchone())

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a process that uses this store."""
        return {**os.environ, "KERNEL_SANDBOX_HOME": str(self.home), **(extra or {})}

    def cli(
        self,
        *args: str | Path,
        input: str | bytes | None = None,
        check: bool = False,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        text: bool = True,
    ) -> subprocess.CompletedProcess[Any]:
        """Run ``kernel-sandbox ARGS`` to its end; input and output are text, or bytes with ``text=False``.

        Raises:
            AssertionError: ``check`` was asked and the exit status is not 0; carries the standard error.
            subprocess.TimeoutExpired: still running after ``timeout`` seconds; it has been killed.
        """
        command, environment = [COMMAND, *map(os.fspath, args)], self.environ(env)
        given = input.encode(errors="surrogateescape") if isinstance(input, str) else input or b""
        if forks.can_run(command[1:], environment):
            done = forks.run(command, given, timeout, environment, os.fspath(cwd or os.getcwd()))
        else:
            done = subprocess.run(command, input=given, capture_output=True, timeout=timeout, env=environment, cwd=cwd)
        if text:
            done.stdout, done.stderr = (_decoded(output) for output in (done.stdout, done.stderr))
        if check and done.returncode:
            raise AssertionError(f"kernel-sandbox {' '.join(map(str, args))}: status {done.returncode}\n{done.stderr}")
        return done

    def start(
        self,
        *args: str | Path,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.PIPE,
        stderr: int | IO[Any] | None = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
        start_new_session: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start ``kernel-sandbox ARGS`` and return at once; the caller ends and waits for it."""
        return subprocess.Popen(
            [COMMAND, *args],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=self.environ(env),
            start_new_session=start_new_session,
        )

    def bootstrap(self, *image: str) -> None:
        """Make an embedded image: ``busybox``, or with no name the Python one.

        Raises:
            AssertionError: the command failed.
        """
        self.cli("bootstrap", *image, check=True, timeout=110)

    def remove(self) -> None:
        """Remove every container and image through the product, then the directory.

        Raises:
            AssertionError: something is still there.
        """
        if not self.home.exists():
            return
        if any(self.home.iterdir()):
            for listing, removal in (("ps", "rm"), ("images", "rmi")):
                every = ("-aq",) if listing == "ps" else ("-q",)
                if found := tuple(dict.fromkeys(self.cli(listing, *every).stdout.split())):
                    self.cli(removal, "-f", *found)
        shutil.rmtree(self.home, ignore_errors=True)
        if self.home.exists():
            # Owned by subordinate ids: only inside a user namespace that maps them can they go.
            mapped = ["unshare", "--user", "--map-root-user", "--map-auto"]
            subprocess.run([*mapped, "rm", "-rf", str(self.home)], capture_output=True, timeout=60)
        assert not self.home.exists(), f"the store {self.home} cannot be removed"


def _decoded(output: bytes) -> str:
    """Text as `subprocess` reads it, with one kind of line end."""
    return output.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def temporary_store() -> Iterator[Store]:
    """An empty store, removed at the end."""
    store = Store(Path(tempfile.mkdtemp(prefix="ks-", dir=SCRATCH)))
    try:
        yield store
    finally:
        store.remove()
