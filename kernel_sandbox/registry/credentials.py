"""Logins to registries, where Docker's client keeps them: ``config.json``, or a helper program that it names.

``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``, is read and written; podman's ``auth.json`` is read for
what that does not know. What is in the file belongs to ``spec.docker_config``, talking to a helper to ``helpers``.
A file is read when a login is wanted and never kept: another program may change it.

No secret gets into an error, a log or a command line.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

from kernel_sandbox.errors import CorruptContent, SandboxError
from kernel_sandbox.registry.helpers import CredentialHelper
from kernel_sandbox.spec import docker_config
from kernel_sandbox.spec.docker_config import DockerConfig, Login

_MAX_FILE = 1 << 20
_PATIENCE = 10.0
_INTERVAL = 0.05


class _NoHome(SandboxError):
    """There is no place of the user's own."""


class Credentials:
    """The caller's logins, by the environment that it has. Safe to use from several threads."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    @property
    def path(self) -> str:
        """Docker's file, which logins are written to. Raises SandboxError where there is no home directory."""
        directory = self._environment.get("DOCKER_CONFIG")
        if not directory:
            directory = os.path.join(self._home(), ".docker")
        return os.path.join(directory, "config.json")

    def get(self, domain: str) -> Login | None:
        """The caller's login to a registry; None without one. Raises SandboxError for a file that cannot be used.

        A helper that cannot be used has none, as with Docker: what needs no login goes on without.
        """
        for path in self._files():
            config = _decoded(_read(path), path)
            with contextlib.suppress(SandboxError):
                if login := self._login(config, domain):
                    return login
        return None

    def store(self, domain: str, login: Login) -> str:
        """Keep a login, with the helper that the file names, else in the file itself. Raises SandboxError.

        The path of the file that holds the secret for everybody to read who can read the file, if it has changed;
        empty otherwise.
        """
        config = _decoded(_read(self.path), self.path)
        name = config.helper(domain)
        if name:
            CredentialHelper(name, self._environment).store(domain, login)
            self._edit(lambda content: docker_config.with_login(content, domain, Login()))
            return ""
        if config.login(domain) == login:
            return ""
        self._edit(lambda content: docker_config.with_login(content, domain, login))
        return self.path

    def erase(self, domain: str) -> None:
        """Forget the login to a registry, if there is one. Raises SandboxError."""
        content = _read(self.path)
        name = _decoded(content, self.path).helper(domain)
        if name:
            CredentialHelper(name, self._environment).erase(domain)
        if content:
            self._edit(lambda content: docker_config.without_login(content, domain))

    def _login(self, config: DockerConfig, domain: str) -> Login:
        name = config.helper(domain)
        return CredentialHelper(name, self._environment).get(domain) if name else config.login(domain)

    def _files(self) -> Iterator[str]:
        """All that are read: Docker's, then podman's in its order (containers-auth.json(5))."""
        with contextlib.suppress(_NoHome):
            yield self.path
        if chosen := self._environment.get("REGISTRY_AUTH_FILE"):
            yield chosen
            return
        if runtime := self._environment.get("XDG_RUNTIME_DIR"):
            yield os.path.join(runtime, "containers/auth.json")
        with contextlib.suppress(_NoHome):
            config = self._environment.get("XDG_CONFIG_HOME") or os.path.join(self._home(), ".config")
            yield os.path.join(config, "containers/auth.json")

    def _home(self) -> str:
        home = self._environment.get("HOME") or os.path.expanduser("~")
        if not home.startswith("/"):
            raise _NoHome("this user has no home directory: set DOCKER_CONFIG to where logins are to be kept")
        return home

    def _edit(self, change: Callable[[bytes], bytes]) -> None:
        """Put the file's changed content in its place, whole or not at all. Raises SandboxError."""
        _check_links(self.path)
        path = os.path.realpath(self.path)
        directory = os.path.dirname(path)
        with _explained(path):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            with _locked(directory):
                content = _read(path)
                _decoded(content, path)
                changed = change(content)
                if changed != content:
                    _replace(path, changed)


def _read(path: str) -> bytes:
    """The file's content, empty where there is none. Raises SandboxError."""
    with _explained(path, "read"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        with open(descriptor, "rb") as file:
            content = file.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        raise SandboxError(f"cannot read {path}: it has more than {_MAX_FILE} bytes")
    return content


def _decoded(content: bytes, path: str) -> DockerConfig:
    try:
        return docker_config.decode(content)
    except CorruptContent as error:
        raise SandboxError(f"cannot read {path}: {error}: mend it, or move it away") from None


def _check_links(path: str) -> None:
    """Links of one's own to what is one's own are followed, and none of anybody else's. Raises SandboxError."""
    for link in filter(os.path.islink, (os.path.dirname(path), path)):
        for each in (link, os.path.realpath(link)):
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(each).st_uid != os.geteuid():
                    raise SandboxError(f"will not write {path}: {link} is a link, and {each} belongs to another user")


def _replace(path: str, content: bytes) -> None:
    """For its owner alone to read, as secrets are."""
    descriptor, half = tempfile.mkstemp(prefix=".config.", dir=os.path.dirname(path))
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            _keep_owner(path, descriptor)
            os.fsync(descriptor)
        os.rename(half, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(half)
        raise


def _keep_owner(path: str, descriptor: int) -> None:
    """What root writes into the home of another (``sudo``) stays the other's."""
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(path)
        if os.geteuid() == 0 and stat.S_ISREG(status.st_mode):
            os.fchown(descriptor, status.st_uid, status.st_gid)


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """One writer at a time; the lock goes with its holder (flock(2))."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SandboxError(f"another login is changing {directory}: try again") from None
                time.sleep(_INTERVAL)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(path: str, verb: str = "write") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SandboxError(f"cannot {verb} {path}: {(error.strerror or '').lower()}") from error
