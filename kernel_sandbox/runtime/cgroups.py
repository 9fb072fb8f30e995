"""Control groups, v1 and v2: made for one container, filled, read and removed (cgroups(7)).

Which values to write is decided in ``spec.resources``. Here: where each controller is mounted, which part of the
tree the caller may use, and a limit that cannot be kept is an error that says why.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kernel_sandbox.errors import HostError
from kernel_sandbox.runtime import systemd
from kernel_sandbox.spec import resources as plan
from kernel_sandbox.spec.runtime import Resources

PARENT = "kernel-sandbox"
_ALWAYS = {"memory", "pids", "cpu", "cpuacct", "cpuset", "freezer"}
_ALWAYS_V2 = {"memory", "pids", "cpu", "cpuset", "io"}
_V1_NAMES = {"io": "blkio"}
_INHERITED = ("cpuset.cpus", "cpuset.mems")
_NOT_CONTROLLERS = {"rw", "ro", "xattr", "clone_children", "cpuset_v2_mode", "noprefix", "release_agent"}
_ATTEMPTS = 20
_SECONDS_TO_LEAVE = 5.0


class Hierarchies(msgspec.Struct, frozen=True):
    """Where control groups are mounted: v1 controllers by name, and the unified tree if there is one."""

    v1: Mapping[str, str]
    v1_mounts: Mapping[str, str]
    """Each v1 hierarchy's directory name, with the options that mount it again."""
    unified: str | None
    unified_controllers: frozenset[str]


@functools.cache
def hierarchies() -> Hierarchies:
    """What /proc/self/mountinfo says (proc_pid_mountinfo(5))."""
    v1: dict[str, str] = {}
    v1_mounts: dict[str, str] = {}
    unified = None
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            mount_point = before.split()[4]
            fstype, _, options = after.split()[:3]
            if fstype == "cgroup2":
                unified = mount_point
            elif fstype == "cgroup":
                wanted = [option for option in options.split(",") if option.partition("=")[0] not in _NOT_CONTROLLERS]
                v1.update(dict.fromkeys(wanted, mount_point))
                v1_mounts[os.path.basename(mount_point)] = ",".join(wanted)
    return Hierarchies(v1, v1_mounts, unified, _controllers(unified) if unified else frozenset())


def available(file: str) -> str:
    """What a container may be given by ``cpuset.cpus`` or ``cpuset.mems``, as ``0-1``; "" where that is unknown."""
    where = hierarchies()
    for path in (f"{where.v1.get('cpuset', '')}/{file}", f"{where.unified or ''}/{file}.effective"):
        with contextlib.suppress(OSError):
            return _read(path).strip()
    return ""


def has_block_weights() -> bool:
    """Whether a container can be given a share of block devices."""
    where = hierarchies()
    if "blkio" in where.v1:
        return any(name.startswith(("blkio.weight", "blkio.bfq.")) for name in os.listdir(where.v1["blkio"]))
    return "io" in where.unified_controllers


def _controllers(group: str) -> frozenset[str]:
    try:
        return frozenset(_read(f"{group}/cgroup.controllers").split())
    except OSError:
        return frozenset()


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _write(path: str, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)


class Entrances(msgspec.Struct, frozen=True):
    """Open doors to a container's groups.

    Moving another process takes a lock of the whole machine's for milliseconds. A thread that moves itself, through
    v1's ``tasks`` files, takes none, nor does a process that starts in its v2 group (clone3(2), CLONE_INTO_CGROUP).
    """

    tasks: tuple[int, ...]
    unified: int | None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What has to stay open for them to be of use."""
        return (*self.tasks, *(() if self.unified is None else (self.unified,)))

    def enter(self) -> None:
        """Move the calling process, which has one thread, into the v1 groups."""
        for descriptor in self.tasks:
            os.write(descriptor, b"0")


class Cgroup(msgspec.Struct, frozen=True):
    """The groups of one container, one directory in each hierarchy that it uses."""

    paths: tuple[str, ...] = ()

    @classmethod
    def create(cls, container_id: str, resources: Resources | None, privileged: bool) -> Cgroup:
        """Make the groups and set the limits. Raises HostError for a limit that cannot be kept; leaves nothing then.

        Without limits an ordinary user's container stays in the caller's own group.
        """
        if resources is None and not privileged:
            return cls()
        where = hierarchies()
        v1, v2 = _settings(resources or Resources(), where)
        controllers = {setting.controller for setting in v1} | (_ALWAYS & set(where.v1) if privileged else set())
        made: list[str] = []
        try:
            for mount_point in sorted({where.v1[controller] for controller in controllers}):
                made.append(_make_v1(mount_point, container_id))
            if v2 or (privileged and not where.v1 and where.unified):
                wanted = {setting.controller for setting in v2}
                wanted |= (_ALWAYS_V2 & where.unified_controllers) if privileged else set()
                made.append(_make_v2(where, container_id, wanted, privileged))
            _apply_all((*v1, *v2), made, where)
        except BaseException:
            cls(tuple(made)).remove()
            raise
        return cls(tuple(made))

    def limited(self, container_id: str, resources: Resources, privileged: bool) -> Cgroup:
        """The groups once other limits are set, with one more where a controller had none until now.

        Raises HostError for a limit that cannot be kept, with those before it set.
        """
        where = hierarchies()
        v1, v2 = _settings(resources, where)
        missing = [setting for setting in (*v1, *v2) if not _directories(self.paths, where, setting)]
        if missing and (not privileged or any(setting in v2 for setting in missing)):
            raise HostError(
                f"cannot set {missing[0].file}: the container runs without control groups: stop it, and start it again"
            )
        tops = sorted({where.v1[setting.controller] for setting in missing})
        added = Cgroup(tuple(_make_v1(top, container_id) for top in tops))
        whole = Cgroup((*self.paths, *added.paths))
        for _ in range(_ATTEMPTS):
            outside = set(self.pids()) - set(added.pids())
            if not tops or not outside:
                break
            added.take(outside)
        _apply_all((*v1, *v2), whole.paths, where)
        return whole

    def take(self, pids: Iterable[int]) -> None:
        """Move processes into the groups; one that has ended needs no moving."""
        for path in self.paths:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    _write(f"{path}/cgroup.procs", str(pid))

    @classmethod
    def left_of(cls, container_id: str) -> Cgroup:
        """The groups of a container whose monitor was killed before it could record them."""
        where = hierarchies()
        tops = {*where.v1.values(), *((where.unified,) if where.unified else ())}
        with contextlib.suppress(HostError, OSError):
            tops.add(_delegated(where.unified or "", set()))
        paths = (f"{top}/{PARENT}/{container_id}" for top in sorted(tops))
        return cls(tuple(path for path in paths if os.path.isdir(path)))

    @contextlib.contextmanager
    def entrances(self) -> Iterator[Entrances]:
        """Ways in, for a process that is about to be cloned."""
        tasks: list[int] = []
        unified: int | None = None
        try:
            for path in self.paths:
                if os.path.exists(f"{path}/tasks"):
                    tasks.append(os.open(f"{path}/tasks", os.O_WRONLY | os.O_CLOEXEC))
                else:
                    unified = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            yield Entrances(tuple(tasks), unified)
        finally:
            for descriptor in (*tasks, *(() if unified is None else (unified,))):
                os.close(descriptor)

    def oom_killed(self) -> bool:
        """Whether the memory limit has killed a process of the container."""
        for path in self.paths:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    counts = dict(line.split() for line in _read(f"{path}/{name}").splitlines())
                    if int(counts.get("oom_kill", "0")) > 0:
                        return True
        return False

    def pids(self) -> tuple[int, ...]:
        """Every process that is in one of the groups now, or below."""
        found: set[int] = set()
        for path in self.paths:
            for group in (path, *_below(path)):
                with contextlib.suppress(OSError):
                    found.update(int(line) for line in _read(f"{group}/cgroup.procs").split())
        return tuple(sorted(found))

    def remove(self) -> None:
        """Remove the groups, which the last processes may be just leaving, and the parent that is empty then."""
        deadline = time.monotonic() + _SECONDS_TO_LEAVE
        left = self.paths
        while (left := tuple(path for path in left if not _is_removed(path))) and time.monotonic() < deadline:
            time.sleep(0.005)
        for path in self.paths:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(path))


def _settings(resources: Resources, where: Hierarchies) -> tuple[list[plan.Setting], list[plan.Setting]]:
    """The values for v1 hierarchies and for the unified one, each controller where this machine has it."""
    v1 = [setting for setting in plan.settings_v1(resources) if setting.controller in where.v1]
    v2 = [
        each for each in plan.settings_v2(resources) if _V1_NAMES.get(each.controller, each.controller) not in where.v1
    ]
    return v1, v2


def _is_removed(path: str) -> bool:
    """Remove a group, unless there is still somebody in it."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        for group in _below(path):
            with contextlib.suppress(OSError):
                os.rmdir(group)
        return False
    return True


def _below(path: str) -> Iterator[str]:
    """The groups that a privileged container has made in its own, the lowest first."""
    for directory, names, _ in os.walk(path, topdown=False):
        yield from (os.path.join(directory, name) for name in names)


def _make_v1(mount_point: str, container_id: str) -> str:
    try:
        group = _make(f"{mount_point}/{PARENT}", container_id)
        if mount_point == hierarchies().v1.get("cpuset"):
            _inherit(os.path.dirname(group))
            _inherit(group)
        return group
    except OSError as error:
        raise HostError(
            f"cannot make a control group in {mount_point}: {error.strerror}: {_advice_v1(error)}"
        ) from error


def _inherit(group: str) -> None:
    """A v1 cpuset starts empty, and takes no process then (cpuset(7))."""
    for name in _INHERITED:
        if not _read(f"{group}/{name}").strip():
            _write(f"{group}/{name}", _read(f"{os.path.dirname(group)}/{name}"))


def _advice_v1(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            "with control groups v1 limits are root's: run without the limit, as root, or boot the machine with "
            "systemd.unified_cgroup_hierarchy=1"
        )
    return "run without the limit"


def _make(parent: str, name: str, controllers: Iterable[str] = ()) -> str:
    """``parent/name``; the parent may be removed by another container's end at any moment."""
    path = f"{parent}/{name}"
    for attempt in range(_ATTEMPTS):
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(parent)
            _enable(parent, controllers)
            _make_afresh(path)
        except FileNotFoundError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            break
    return path


def _make_v2(where: Hierarchies, container_id: str, controllers: set[str], privileged: bool) -> str:
    missing = sorted(controllers - where.unified_controllers)
    if where.unified is None or missing:
        raise HostError(
            f"cannot limit {', '.join(missing or sorted(controllers))}: this kernel offers no such controller"
        )
    wanted = sorted(controllers)
    try:
        if not privileged and systemd.is_reachable():
            scope = systemd.move_into_own_scope(f"{PARENT}-{container_id[:12]}.scope", where.unified)
            return _beside_own_process(scope, wanted)
        base = where.unified if privileged else _delegated(where.unified, controllers)
        _enable(base, wanted)
        return _make(f"{base}/{PARENT}", container_id, wanted)
    except OSError as error:
        raise HostError(f"cannot limit {', '.join(wanted)}: {error.filename}: {error.strerror}") from error


def _beside_own_process(scope: str, controllers: Iterable[str]) -> str:
    """A group in the scope that this process was moved into; v2 allows processes in leaves alone."""
    for name in ("monitor", "container"):
        os.mkdir(f"{scope}/{name}")
    _write(f"{scope}/monitor/cgroup.procs", "0")
    _enable(scope, controllers)
    return f"{scope}/container"


def _make_afresh(path: str) -> None:
    """A group of this container's that is there already was left by a monitor that was killed, maybe with processes."""
    try:
        os.mkdir(path)
    except FileExistsError:
        leftover = Cgroup((path,))
        for pid in leftover.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        leftover.remove()
        os.mkdir(path)


def _enable(group: str, controllers: Iterable[str]) -> None:
    for controller in controllers:
        _write(f"{group}/cgroup.subtree_control", f"+{controller}")


def _delegated(unified: str, controllers: set[str]) -> str:
    """The topmost group above this process that the user owns (cgroup-v2.rst, Delegation)."""
    own = next((line[3:].strip() for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "/")
    group, found = f"{unified}{own}".rstrip("/"), None
    while len(group) > len(unified):
        if all(os.access(f"{group}/{file}", os.W_OK) for file in ("cgroup.procs", "cgroup.subtree_control")):
            found = group
        group = os.path.dirname(group)
    if found is None or not controllers <= _controllers(found):
        raise HostError(
            f"cannot limit {', '.join(sorted(controllers))}: no control group with them is delegated to this user: "
            "log in through systemd, or run without the limit, or as root"
        )
    return found


def _directories(made: Iterable[str], where: Hierarchies, setting: plan.Setting) -> tuple[str, ...]:
    """The group that has the setting, if there is one."""
    mount_point = where.v1.get(setting.controller, where.unified or "")
    return tuple(path for path in made if path.startswith(f"{mount_point}/"))


def _apply_all(settings: Iterable[plan.Setting], made: Iterable[str], where: Hierarchies) -> None:
    """Those that are refused are tried again: a higher limit of memory needs the one with swap to be raised first."""
    refused = []
    for setting in settings:
        directory = _directories(made, where, setting)[0]
        try:
            _apply(setting, directory)
        except HostError:
            refused.append((setting, directory))
    for setting, directory in refused:
        _apply(setting, directory)


def _apply(setting: plan.Setting, directory: str) -> None:
    path = f"{directory}/{setting.file}"
    if setting.optional and not os.path.exists(path):
        return
    try:
        _write(path, setting.value)
    except OSError as error:
        raise HostError(
            f"cannot set {setting.file} to {setting.value}: {error.strerror}: choose another limit"
        ) from error
