"""Which ids the caller may map into a user namespace, and writing the maps (user_namespaces(7)).

Real root maps any range. Anyone else has the subordinate ids of subuid(5), written through newuidmap(1), or else
a single id. The plan of a map is in ``spec.idmap``.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable

import msgspec

from kernel_sandbox.errors import HostError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.spec import idmap
from kernel_sandbox.spec.idmap import IdMap

_WHOLE = ["0", "0", "4294967295"]
_HOST_IDS = (idmap.IdMapping(0, 0, 4294967295),)
_APPARMOR_SWITCH = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


class IdMaps(msgspec.Struct, frozen=True):
    """The two maps of one user namespace."""

    uid: IdMap
    gid: IdMap


@functools.cache
def is_privileged() -> bool:
    """Whether this is root of the machine's own user namespace, who needs no map to own any file."""
    return os.geteuid() == 0 and _own_map() == _WHOLE


def _own_map() -> list[str]:
    with open("/proc/self/uid_map") as file:
        return file.read().split()


def container_maps(slot: int, keeps_host_ids: bool = False) -> IdMaps:
    """The maps of a container: a range of its own for real root or the host's own ids, else what the caller has."""
    if is_privileged() and keeps_host_ids:
        return IdMaps(_HOST_IDS, _HOST_IDS)
    if is_privileged():
        own = idmap.own_range(slot)
        return IdMaps(own, own)
    return store_maps()


@functools.cache
def store_maps() -> IdMaps:
    """The maps in which an unprivileged caller's stored files are owned; the same for all its containers."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return _nested_root()
    import shutil

    if shutil.which("newuidmap") is None:
        return IdMaps(idmap.single(uid), idmap.single(gid))
    names = _names(uid)
    subuid = idmap.subordinate(uid, names, _read("/etc/subuid"))
    subgid = idmap.subordinate(gid, names, _read("/etc/subgid"))
    if len(subuid) == 1 or len(subgid) == 1:
        return IdMaps(idmap.single(uid), idmap.single(gid))
    return IdMaps(subuid, subgid)


def _nested_root() -> IdMaps:
    """Root of a namespace that is itself mapped passes on, unchanged, the ids that it has from 0 on."""
    first, _, count = (int(field) for field in _own_map()[:3])
    if first != 0:
        return IdMaps(idmap.single(0), idmap.single(0))
    whole = (idmap.IdMapping(0, 0, count),)
    return IdMaps(whole, whole)


def maps_of(pid: int) -> IdMaps:
    """The maps of a process's user namespace. Raises FileNotFoundError where there is no such process."""
    return IdMaps(*(idmap.parse(_content(f"/proc/{pid}/{kind}_map")) for kind in ("uid", "gid")))


def _content(path: str) -> str:
    with open(path) as file:
        return file.read()


def _names(uid: int) -> tuple[str, ...]:
    import pwd

    try:
        return (pwd.getpwuid(uid).pw_name, str(uid))
    except KeyError:
        return (str(uid),)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def write_maps(pid: int, maps: IdMaps) -> None:
    """Give the new user namespace of process *pid* its maps."""
    if os.geteuid() != 0 and (len(maps.uid) > 1 or len(maps.gid) > 1):
        _map_with_helper("newuidmap", pid, maps.uid)
        _map_with_helper("newgidmap", pid, maps.gid)
        return
    try:
        if os.geteuid() != 0:
            _write(f"/proc/{pid}/setgroups", "deny")
        _write(f"/proc/{pid}/uid_map", idmap.document(maps.uid))
        _write(f"/proc/{pid}/gid_map", idmap.document(maps.gid))
    except OSError as error:
        raise HostError(f"cannot map ids into a user namespace: {error.strerror}: {_userns_advice()}") from error


def _write(path: str, content: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, content.encode())
    finally:
        os.close(descriptor)


def _map_with_helper(helper: str, pid: int, mappings: IdMap) -> None:
    extents = [str(n) for each in mappings for n in (each.container_id, each.host_id, each.size)]
    child = os.posix_spawnp(helper, [helper, str(pid), *extents], os.environ)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        raise HostError(
            f"{helper} refused the ids {' '.join(extents)}: check /etc/subuid and /etc/subgid for this user, "
            f"and that {helper} is setuid root"
        )


def clone(flags: int, child: Callable[[], None], cgroup: int | None = None) -> tuple[int, int]:
    """``syscalls.clone3`` with a new user namespace, with advice where the machine refuses one."""
    try:
        return syscalls.clone3(flags | syscalls.CLONE_NEWUSER, child, cgroup)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSPC, errno.ENOSYS, errno.EUSERS):
            raise HostError(f"cannot make a user namespace: {error.strerror}: {_userns_advice()}") from error
        raise


def _userns_advice() -> str:
    if _read(_APPARMOR_SWITCH).strip() == "1":
        return "allow it with `sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    if _read("/proc/sys/kernel/unprivileged_userns_clone").strip() == "0":
        return "allow it with `sysctl kernel.unprivileged_userns_clone=1`"
    if _read("/proc/sys/user/max_user_namespaces").strip() == "0":
        return "allow it with `sysctl user.max_user_namespaces=15000`"
    return "inside another container, that one must allow user namespaces"


def run_inside_store_namespace(work: Callable[[], None]) -> int:
    """Run *work* in a process that is root among the store's owners; returns its exit status.

    Real root owns the store directly and just runs it. The calling process must have one thread only.
    """
    if is_privileged():
        work()
        return 0
    maps = store_maps()  # known inside, too, where it could not be found out any more
    reader, writer = os.pipe2(os.O_CLOEXEC)

    def child() -> None:
        os.close(writer)
        if os.read(reader, 1) != b"1":
            os._exit(125)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        work()
        os._exit(0)

    pid, pidfd = clone(0, child)
    os.close(reader)
    os.close(pidfd)
    try:
        write_maps(pid, maps)
        os.write(writer, b"1")
    finally:
        os.close(writer)
        status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status)
