"""Preparing a machine for `make test`: the packages it lacks, and an ordinary user to be.

Debian and Ubuntu, as root. Everything made here is taken away again, except the installed packages.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from support.waiting import run_bounded

SCHEMAS = "/usr/share/gocode/src/github.com/opencontainers/image-spec/schema"
# The program, or the directory, that shows a package is there, and the package.
PACKAGES = {
    SCHEMAS: "golang-github-opencontainers-image-spec-dev",
    "busybox": "busybox-static",
    "bwrap": "bubblewrap",
    "crun": "crun",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "fish": "fish",
    "newuidmap": "uidmap",
    "openssl": "openssl",
    "podman": "podman",
    "runc": "runc",
    "skopeo": "skopeo",
    "strace": "strace",
    "umoci": "umoci",
    "zsh": "zsh",
}
VENV_PACKAGE = "python3-venv"
USER = "ksandbox-test"
SUBORDINATE_IDS = "400000-465535"


def install_missing() -> str:
    """Install the packages that are missing; return one line that says what is there now."""
    missing = [package for shown_by, package in PACKAGES.items() if not _is_there(shown_by)]
    if not _has_venv("/usr/bin/python3"):
        missing.append(VENV_PACKAGE)
    if not missing:
        return "every tool that the tests compare with is installed"
    if shutil.which("apt-get") is None:
        return f"no apt-get here; not installed: {', '.join(missing)}"
    with _services_stay_stopped():
        _apt("update")
        # One by one: a package that one release lacks must not cost the others.
        failed = [package for package in missing if not _apt("install", "--no-install-recommends", package)]
    return f"installed: {', '.join(missing)}" if not failed else f"could not be installed: {', '.join(failed)}"


def _is_there(shown_by: str) -> bool:
    return Path(shown_by).is_dir() or shutil.which(shown_by) is not None


def _apt(*args: str) -> bool:
    options = (
        "-qq",
        "-y",
        "-o",
        "Dpkg::Use-Pty=0",
        "-o",
        "Acquire::Retries=1",
        "-o",
        "DPkg::Lock::Timeout=60",
    )
    done = subprocess.run(
        ["apt-get", *options, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        timeout=600,
        check=False,
    )
    return done.returncode == 0


@contextmanager
def _services_stay_stopped() -> Iterator[None]:
    # Debian's invoke-rc.d(8) asks this program before it starts a new package's daemon: 101 forbids it.
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def _has_venv(python: str, **as_user: str | int) -> bool:
    script = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    try:
        done = subprocess.run([python, "-c", script], capture_output=True, cwd="/", **as_user)  # type: ignore[call-overload]
    except OSError:
        return False
    return bool(done.returncode == 0)


class NoInterpreter(Exception):
    """No Python that an ordinary user may execute is on this machine."""


@dataclass(frozen=True)
class OrdinaryUser:
    """A user made for the tests, with a copy of the tests and an environment of its own."""

    name: str
    uid: int
    directory: Path

    @property
    def python(self) -> str:
        """The interpreter of the user's virtual environment."""
        return str(self.directory / "venv/bin/python")

    @property
    def checkout(self) -> Path:
        """The user's copy of the tests and the lessons; the package is not in it but installed."""
        return self.directory / "checkout"

    def session(self) -> dict[str, str]:
        """The environment that a login session adds (pam_systemd(8)): a runtime directory of the user's own."""
        runtime = self.directory / "run"
        runtime.mkdir(mode=0o700)
        os.chown(runtime, self.uid, -1)
        return {"XDG_RUNTIME_DIR": str(runtime)}

    def run(self, command: list[str], timeout: float, extra: Mapping[str, str], output: IO[bytes]) -> int:
        """Run ``command`` in the user's checkout, with a clean environment and ``extra``; return its exit status.

        What it writes goes to ``output``.

        Raises:
            subprocess.TimeoutExpired: still running after ``timeout`` seconds; it has been killed.
        """
        environment = {
            **{name: os.environ[name] for name in ("CI",) if name in os.environ},
            "HOME": str(self.directory / "home"),
            "USER": self.name,
            "PATH": f"{self.directory}/venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.directory / "tmp"),
        }
        return run_bounded(
            command,
            timeout,
            user=self.name,
            group=self.name,
            extra_groups=[],
            umask=0o022,
            cwd=self.checkout,
            env={**environment, **extra},
            stdout=output,
            stderr=output,
        )

    def add_subordinate_ids(self) -> None:
        """Give the user a range of 65536 subordinate user and group ids (subuid(5))."""
        ranges = ("--add-subuids", SUBORDINATE_IDS, "--add-subgids", SUBORDINATE_IDS)
        subprocess.run(["usermod", *ranges, self.name], check=True)

    def processes(self) -> tuple[int, ...]:
        """Every process that runs as the user."""
        return tuple(
            int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit() and _owner(entry.path) == self.uid
        )


def _owner(path: str) -> int | None:
    try:
        return os.stat(path).st_uid
    except FileNotFoundError:
        return None


@contextmanager
def ordinary_user(checkout: Path, extra: str) -> Iterator[OrdinaryUser]:
    """Make a user without subordinate ids, install ``checkout[extra]`` for it, and remove both at the end.

    The wheel is installed, not the checkout: root's home, where a checkout may lie, is closed to others.

    Raises:
        NoInterpreter: no Python 3.11 with venv is executable by others.
        subprocess.CalledProcessError: the user cannot be made, or pip failed.
    """
    directory = Path(tempfile.mkdtemp(prefix="ks-user-", dir="/var/tmp"))
    directory.chmod(0o755)
    _remove_user()
    no_ids = ("--key", "SUB_UID_COUNT=0", "--key", "SUB_GID_COUNT=0")
    home = ("--home-dir", str(directory / "home"), "--no-create-home", "--shell", "/bin/sh")
    try:
        subprocess.run(["useradd", "--user-group", *no_ids, *home, USER], check=True)
        user = OrdinaryUser(USER, pwd.getpwnam(USER).pw_uid, directory)
        _furnish(user, checkout, extra)
        yield user
    finally:
        _remove_user()
        shutil.rmtree(directory, ignore_errors=True)


def _furnish(user: OrdinaryUser, checkout: Path, extra: str) -> None:
    for name in ("home", "tmp", "reports"):
        (user.directory / name).mkdir()
    for name in ("tests", "notebooks"):
        shutil.copytree(checkout / name, user.checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(checkout / "pyproject.toml", user.checkout)
    subprocess.run(["chown", "-R", f"{user.name}:", user.directory], check=True)
    candidates = (getattr(sys, "_base_executable", sys.executable), "/usr/bin/python3")
    usable = [python for python in candidates if _has_venv(python, user=user.name, group=user.name)]
    if not usable:
        raise NoInterpreter("no Python 3.11 or later with venv that an ordinary user can execute")
    subprocess.run([usable[0], "-m", "venv", user.directory / "venv"], check=True)
    subprocess.run([user.python, "-m", "pip", "install", "--quiet", f"{checkout}[{extra}]"], check=True)


def _remove_user() -> None:
    try:
        uid = pwd.getpwnam(USER).pw_uid
    except KeyError:
        return
    for pid in OrdinaryUser(USER, uid, Path("/")).processes():
        os.kill(pid, signal.SIGKILL)
    subprocess.run(["userdel", USER], check=True)
