"""The compiled filter, in a process of its own: what it lets through and what it refuses."""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel_sandbox.errors import HostError
from kernel_sandbox.linux import syscalls
from kernel_sandbox.runtime import seccomp
from kernel_sandbox.spec import capabilities
from kernel_sandbox.spec import seccomp as spec
from kernel_sandbox.spec.seccomp import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers below are of x86_64")

CLONE, PERSONALITY, MOUNT, KEYCTL, UNSHARE, IO_URING_SETUP, CLONE3 = 56, 135, 165, 250, 272, 425, 435
NEWER_THAN_ALL = 1000
CLONE_NEWUSER = 0x10000000


def default_filter() -> LinuxSeccomp:
    return spec.resolve(spec.default_profile(), capabilities.DEFAULT, "x86_64", platform.release())


def call(number: int, *arguments: int) -> int:
    """The errno of a system call, 0 if it succeeds."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(argument) for argument in arguments))
    return ctypes.get_errno() if result == -1 else 0


def under(program: bytes, action: Callable[[], int]) -> int:
    """What *action* returns in a forked process that has the filter."""
    child = os.fork()
    if child == 0:
        try:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            syscalls.seccomp_set_filter(program)
            os._exit(action())
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def open_socket(family: int) -> int:
    try:
        socket.socket(family, socket.SOCK_STREAM if family != 38 else socket.SOCK_SEQPACKET).close()
    except OSError as error:
        return error.errno or 255
    return 0


@pytest.fixture(scope="module")
def program() -> bytes:
    return seccomp.compile(default_filter())


def test_the_program_is_small(program: bytes) -> None:
    assert len(program) % 8 == 0
    assert len(program) // 8 < 2000


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        pytest.param(lambda: int(Path("/dev/null").read_bytes() != b""), 0, id="open"),
        pytest.param(lambda: call(UNSHARE, CLONE_NEWUSER), errno.EPERM, id="unshare"),
        pytest.param(lambda: call(CLONE, CLONE_NEWUSER | 17), errno.EPERM, id="clone of a namespace"),
        pytest.param(lambda: call(CLONE3, 0, 0), errno.ENOSYS, id="clone3"),
        pytest.param(lambda: call(MOUNT, 0, 0, 0, 0, 0), errno.EPERM, id="mount"),
        pytest.param(lambda: call(KEYCTL, 0, 0, 0, 0, 0), errno.EPERM, id="keyctl"),
        pytest.param(lambda: call(IO_URING_SETUP, 1, 0), errno.EPERM, id="io_uring"),
        pytest.param(lambda: call(PERSONALITY, 0), 0, id="personality of Linux"),
        pytest.param(lambda: call(PERSONALITY, 0xFFFFFFFF), 0, id="personality asked"),
        pytest.param(lambda: call(PERSONALITY, 0x0040000), errno.EPERM, id="personality without randomization"),
        pytest.param(lambda: open_socket(socket.AF_UNIX), 0, id="unix socket"),
        pytest.param(lambda: open_socket(socket.AF_INET), 0, id="internet socket"),
        pytest.param(lambda: open_socket(40), errno.EPERM, id="vsock"),
        pytest.param(lambda: open_socket(38), errno.EPERM, id="crypto socket"),
        pytest.param(lambda: call(NEWER_THAN_ALL), errno.ENOSYS, id="a call newer than the filter"),
        pytest.param(lambda: call(0x40000000 | UNSHARE, CLONE_NEWUSER), errno.EPERM, id="unshare through x32"),
    ],
)
def test_the_default_filter(program: bytes, action: Callable[[], int], expected: int) -> None:
    assert under(program, action) == expected


def test_children_can_be_made_and_programs_run(program: bytes) -> None:
    def run() -> int:
        child = os.fork()
        if child == 0:
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", "import threading"])
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert under(program, run) == 0


def test_several_conditions_on_one_argument_are_alternatives() -> None:
    rule = LinuxSyscall(
        names=("personality", "no_such_call"),
        action="SCMP_ACT_ERRNO",
        errno_ret=errno.EDOM,
        args=tuple(LinuxSeccompArg(0, value, "SCMP_CMP_EQ") for value in (8, 9)),
    )
    program = seccomp.compile(LinuxSeccomp("SCMP_ACT_ALLOW", syscalls=(rule,)))
    assert [under(program, lambda v=value: call(PERSONALITY, v)) for value in (0, 8, 9)] == [  # type: ignore[misc]
        0,
        errno.EDOM,
        errno.EDOM,
    ]


def test_a_rule_that_repeats_the_default_is_no_error() -> None:
    rule = LinuxSyscall(names=("mkdir",), action="SCMP_ACT_ALLOW")
    assert seccomp.compile(LinuxSeccomp("SCMP_ACT_ALLOW", syscalls=(rule,)))


def test_the_cache_is_used_and_survives_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = str(tmp_path / "cache")
    program = seccomp.compiled(default_filter(), cache)
    [entry] = Path(cache).iterdir()
    intact = entry.read_bytes()
    for damaged in (b"", b"rubbish", intact[:-9], intact[:-9] + bytes(9), bytes(100_000)):
        entry.write_bytes(damaged)
        assert seccomp.compiled(default_filter(), cache) == program
        assert entry.read_bytes() == intact
    monkeypatch.setattr(seccomp, "compile", lambda _: pytest.fail("compiled though it was cached"))
    assert seccomp.compiled(default_filter(), cache) == program
    assert [each.name for each in Path(cache).iterdir()] == [entry.name]


def test_another_libseccomp_makes_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "libseccomp.so.2"
    library.write_bytes(b"first")
    monkeypatch.setattr(seccomp, "_loaded_library", lambda: str(library))
    programs = iter([bytes(8), bytes(16)])
    monkeypatch.setattr(seccomp, "compile", lambda _: next(programs))
    document = LinuxSeccomp("SCMP_ACT_ALLOW")
    assert seccomp.compiled(document, str(tmp_path)) == bytes(8)
    assert seccomp.compiled(document, str(tmp_path)) == bytes(8)
    library.write_bytes(b"second")
    assert seccomp.compiled(document, str(tmp_path)) == bytes(16)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    obstacle = tmp_path / "file"
    obstacle.touch()
    assert seccomp.compiled(LinuxSeccomp("SCMP_ACT_ALLOW"), str(obstacle / "cache"))


def test_a_missing_libseccomp_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(HostError, match=r"install libseccomp2 or use --security-opt seccomp=unconfined"):
        seccomp.compile(default_filter())


def test_the_prologue_is_left_out_where_the_default_is_no_error() -> None:
    program = seccomp.compile(LinuxSeccomp("SCMP_ACT_ALLOW"))
    answers = [struct.unpack_from("=HBBI", program, at)[3] for at in range(0, len(program), 8)]
    assert 0x00050000 | errno.ENOSYS not in answers
