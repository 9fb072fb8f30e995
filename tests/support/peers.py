"""Other container engines, real ones, each with its own private state below one directory.

All of them run the same busybox root filesystem. Nothing they do reaches the machine's own Docker or podman.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.store import SCRATCH
from support.waiting import wait_until

CGROUP_PARENT = "kernel-sandbox-peers"
HYBRID = Path("/sys/fs/cgroup/unified")
APPLETS = ("cat", "echo", "env", "id", "ls", "mkdir", "mount", "ps", "rm", "sh", "sleep", "touch", "true")


class Unavailable(Exception):
    """The engine is not installed, or does not work on this machine; the message says which and why."""


def require(*programs: str) -> None:
    """Raise Unavailable unless every program is on the PATH."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        raise Unavailable(f"not installed: {', '.join(missing)}")


def require_root() -> None:
    """Raise Unavailable for an ordinary user."""
    if os.geteuid():
        raise Unavailable("needs root")


def busybox_rootfs(directory: Path) -> Path:
    """Lay out a minimal root filesystem around the machine's static busybox."""
    require("busybox")
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
        (directory / name).mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), directory / "bin/busybox")
    for applet in APPLETS:
        (directory / "bin" / applet).symlink_to("busybox")
    (directory / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (directory / "etc/group").write_text("root:x:0:\n")
    return directory


def rootfs_tar(directory: Path) -> Path:
    """The same root filesystem as a tar archive, for `import`."""
    archive = directory / "rootfs.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(busybox_rootfs(directory / "rootfs"), arcname=".")
    return archive


@contextmanager
def workspace() -> Iterator[Path]:
    """A short private directory, removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="peer-", dir=SCRATCH))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Peer:
    """An engine reached through its command line."""

    def __init__(self, name: str, prefix: tuple[str, ...], in_child: Callable[[], None] | None = None) -> None:
        self.name = name
        self.prefix = prefix
        self.in_child = in_child

    def cli(
        self, *args: str | Path, check: bool = False, timeout: float = 60, text: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[Any]:
        """Run one command of the engine; with ``check``, a failure raises AssertionError with its stderr."""
        if "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        done: subprocess.CompletedProcess[Any] = subprocess.run(
            [*self.prefix, *args],
            capture_output=True,
            text=text,
            timeout=timeout,
            preexec_fn=self.in_child,
            **options,
        )
        if check and done.returncode:
            raise AssertionError(f"{self.name} {' '.join(map(str, args))}: status {done.returncode}\n{done.stderr}")
        return done

    def run_true(self) -> None:
        """Run `true` in a new container without a network, to its end."""
        self.cli("run", "--rm", "--network", "none", "busybox", "true", check=True)


@contextmanager
def docker() -> Iterator[Peer]:
    """A Docker engine of our own: dockerd on a private socket, with a `busybox` image and no bridge.

    Raises:
        Unavailable: not root, not installed, or dockerd did not come up.
    """
    require_root()
    require("dockerd", "docker", "containerd", "runc")
    with workspace() as directory, (directory / "log").open("wb") as log, _cgroups_removed():
        socket = f"unix://{directory}/s"
        daemon = subprocess.Popen(
            [
                *("dockerd", "--host", socket, "--pidfile", f"{directory}/pid"),
                *("--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec"),
                *("--bridge=none", "--iptables=false", "--ip6tables=false"),
                *("--cgroup-parent", f"/{CGROUP_PARENT}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        peer = Peer("docker", ("docker", "--config", f"{directory}/config", "--host", socket))
        try:
            try:
                wait_until(lambda: daemon.poll() is not None or not peer.cli("version").returncode, 30, 0.1)
                peer.cli("import", rootfs_tar(directory), "busybox", check=True)
            except (TimeoutError, AssertionError) as error:
                last = (directory / "log").read_text(errors="replace").strip().splitlines()[-1:]
                raise Unavailable(f"dockerd does not work here: {' '.join(last)}") from error
            yield peer
        finally:
            if running := peer.cli("ps", "-aq").stdout.split():
                peer.cli("rm", "-f", *running)
            _end(daemon)
            _unmount_below(directory)


@contextmanager
def podman() -> Iterator[Peer]:
    """podman with storage of its own and a `busybox` image.

    Raises:
        Unavailable: not root, not installed, or it does not work.
    """
    require_root()
    require("podman", "runc")
    with workspace() as directory, _cgroups_removed():
        places = (
            "--root",
            f"{directory}/root",
            "--runroot",
            f"{directory}/run",
            "--tmpdir",
            f"{directory}/t",
        )
        # crun, the default, refuses hybrid cgroups.
        runtime = ("--runtime", "runc") if HYBRID.exists() else ()
        peer = _Podman("podman", ("podman", "--cgroup-manager", "cgroupfs", *runtime, *places))
        try:
            peer.cli("import", rootfs_tar(directory), "busybox", check=True)
        except AssertionError as error:
            raise Unavailable(f"podman does not work here: {error}") from error
        try:
            yield peer
        finally:
            peer.cli("rm", "--all", "--force")
            _unmount_below(directory)


class _Podman(Peer):
    # The default limits are above what a machine without CAP_SYS_RESOURCE may set.
    LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")

    def cli(self, *args: str | Path, **options: Any) -> subprocess.CompletedProcess[Any]:
        if args[:1] == ("run",) or args[:1] == ("create",):
            args = (args[0], "--cgroup-parent", f"/{CGROUP_PARENT}", *self.LIMITS, *args[1:])
        return super().cli(*args, **options)


@contextmanager
def runtime(program: str) -> Iterator["Runtime"]:
    """An OCI runtime, `crun` or `runc`, and a bundle of busybox for it.

    Raises:
        Unavailable: not root, or not installed.
    """
    require_root()
    require(program)
    with workspace() as directory:
        bundle = directory / "bundle"
        busybox_rootfs(bundle / "rootfs")
        peer = Runtime(program, (program, "--root", f"{directory}/state"), without_unified_cgroups)
        peer.cli("spec", "--bundle", bundle, check=True)
        peer.bundle = bundle
        yield peer


class Runtime(Peer):
    """An OCI runtime and the bundle it runs."""

    bundle: Path

    def configure(self, *command: str) -> None:
        """Make the bundle run ``command`` without a terminal."""
        config = json.loads((self.bundle / "config.json").read_text())
        config["process"].update(terminal=False, args=list(command))
        (self.bundle / "config.json").write_text(json.dumps(config))

    def run_true(self) -> None:
        """Run the bundle as it is configured: call ``configure("true")`` first."""
        self.cli("run", "--bundle", self.bundle, f"peer-{os.getpid()}", check=True)


@contextmanager
def bubblewrap() -> Iterator["Bubblewrap"]:
    """bwrap over the same root filesystem.

    Raises:
        Unavailable: not installed.
    """
    require("bwrap")
    with workspace() as directory:
        rootfs = busybox_rootfs(directory / "rootfs")
        isolation = ("--unshare-all", "--bind", str(rootfs), "/", "--proc", "/proc", "--dev", "/dev")
        yield Bubblewrap("bwrap", ("bwrap", *isolation))


class Bubblewrap(Peer):
    """bwrap has no subcommands: its arguments are the command to run."""

    def run_true(self) -> None:
        """Run `true` in new namespaces."""
        self.cli("true", check=True)


def without_unified_cgroups() -> None:
    """In a child before exec: hide the cgroup v2 mount of a hybrid machine, which crun refuses.

    The mount namespace is the child's own (unshare(2)), so the machine keeps its mount.
    """
    if not HYBRID.exists():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    clone_newns, ms_rec, ms_private, mnt_detach = 0x20000, 0x4000, 0x40000, 2
    for failed in (
        libc.unshare(clone_newns),
        libc.mount(b"none", b"/", None, ctypes.c_ulong(ms_rec | ms_private), None),
        libc.umount2(str(HYBRID).encode(), mnt_detach),
    ):
        if failed:
            raise OSError(ctypes.get_errno(), "cannot hide the unified cgroups")


def end_with_parent() -> None:
    """In a child before exec: end with the process that started it, so that a killed test run leaves no daemon.

    PR_SET_PDEATHSIG of prctl(2).
    """
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(15)
    except subprocess.TimeoutExpired:
        # dockerd is a session leader of ours: its containerd goes with its group.
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait(5)


def _unmount_below(directory: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)


@contextmanager
def _cgroups_removed() -> Iterator[None]:
    try:
        yield
    finally:
        for parent in Path("/sys/fs/cgroup").glob(f"**/{CGROUP_PARENT}"):
            for directory, _, _ in os.walk(parent, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    continue
