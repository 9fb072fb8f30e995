"""System call filters as programs for the kernel: libseccomp compiles them, a cache on disk keeps them.

The only module that knows libseccomp, which it imports when a filter really has to be compiled: reading a
cached program takes a tenth of a millisecond, finding and loading the library tens of them. What is filtered
is decided in `kernel_sandbox.spec.seccomp`; giving a program to the kernel is `kernel_sandbox.linux`'s work.
Follows seccomp(2), seccomp_rule_add(3) and the "Seccomp" section of the runtime specification.
"""

import contextlib
import errno
import hashlib
import os
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from kernel_sandbox.errors import HostError
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.seccomp import ALLOW, ERRNO, LinuxSeccomp, LinuxSeccompArg, LinuxSyscall

_INSTRUCTION = 8  # bytes: struct sock_filter
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_UNKNOWN_SYSCALL = -1  # __NR_SCMP_ERROR
_X32_BIT = 0x40000000


def compiled(document: LinuxSeccomp, cache_dir: str) -> bytes:
    """The program of ``compile``, from the cache where it is there and was made with the present libseccomp.

    Raises HostError as ``compile`` does. A damaged entry is compiled anew; a cache that cannot be written
    costs time, not correctness, and is no error.
    """
    key = hashlib.sha256(msgspec.json.encode(document)).hexdigest()
    path = os.path.join(cache_dir, f"seccomp-{os.uname().machine}-{key}")
    try:
        return _read(path)
    except (OSError, ValueError):
        program = compile(document)
    with contextlib.suppress(OSError):
        _write(path, program)
    return program


def compile(document: LinuxSeccomp) -> bytes:
    """The filter as a BPF program of ``struct sock_filter`` instructions, for the architectures it names.

    Calls libseccomp has no name for are left out, so the default action meets them; but where that is an
    error, calls newer than every one the filter names answer ENOSYS, so that C libraries use older ones.

    Raises HostError when libseccomp is missing or does not accept the filter.
    """
    seccomp = _libseccomp()
    default = _action(document.default_action, document.default_errno_ret)
    try:
        filter = seccomp.SyscallFilter(default)
        filter.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)  # a binary tree: equally short for every call
        _add_architectures(seccomp, filter, document.architectures)
        for rule in document.syscalls:
            _add_rule(seccomp, filter, rule, default)
        program = _newer_calls_prologue(seccomp, filter, document) + _export(filter)
    except OSError as error:
        raise HostError(
            f"libseccomp does not accept the system call filter ({error.strerror}):"
            " update libseccomp2, mend the profile, or use --security-opt seccomp=unconfined"
        ) from error
    if len(program) > _MAX_INSTRUCTIONS * _INSTRUCTION:
        raise HostError("the system call filter is longer than the kernel takes: shorten the seccomp profile")
    return program


def _libseccomp() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise HostError(
            "system calls cannot be filtered, libseccomp is missing:"
            " install libseccomp2 or use --security-opt seccomp=unconfined"
        ) from error
    return pyseccomp


def _action(name: str, errno_ret: int | None) -> int:
    """The kernel's return value (seccomp(2), SECCOMP_RET_*) for an action of the runtime specification."""
    data = errno.EPERM if errno_ret is None else errno_ret & 0xFFFF
    return {
        "SCMP_ACT_KILL": 0x00000000,
        "SCMP_ACT_KILL_THREAD": 0x00000000,
        "SCMP_ACT_KILL_PROCESS": 0x80000000,
        "SCMP_ACT_TRAP": 0x00030000,
        ERRNO: 0x00050000 | data,
        "SCMP_ACT_TRACE": 0x7FF00000 | data,
        "SCMP_ACT_LOG": 0x7FFC0000,
        ALLOW: 0x7FFF0000,
    }[name]


def _token(seccomp: Any, architecture: str) -> int | None:
    token: int | None = getattr(seccomp.Arch, architecture.removeprefix("SCMP_ARCH_"), None)
    return token


def _add_architectures(seccomp: Any, filter: Any, architectures: tuple[str, ...]) -> None:
    """The native one is always there. Leaving one without a token out is safe: its calls kill."""
    for architecture in architectures:
        token = _token(seccomp, architecture)
        if token is not None and not filter.exist_arch(token):
            filter.add_arch(token)


def _add_rule(seccomp: Any, filter: Any, rule: LinuxSyscall, default: int) -> None:
    action = _action(rule.action, rule.errno_ret)
    if action == default:  # libseccomp refuses what it would do anyhow
        return
    for name in rule.names:
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
        if number == _UNKNOWN_SYSCALL:
            continue
        for conjunction in _conjunctions(rule.args):
            filter.add_rule(action, number, *(_condition(seccomp, arg) for arg in conjunction))


def _conjunctions(args: tuple[LinuxSeccompArg, ...]) -> tuple[tuple[LinuxSeccompArg, ...], ...]:
    """Conditions hold together, but as in runc several on one argument are alternatives, each a rule."""
    if len({arg.index for arg in args}) == len(args):
        return (args,)
    return tuple((arg,) for arg in args)


def _condition(seccomp: Any, arg: LinuxSeccompArg) -> Any:
    operator = getattr(seccomp, arg.op.removeprefix("SCMP_CMP_"))
    return seccomp.Arg(arg.index, operator, arg.value, arg.value_two)


def _export(filter: Any) -> bytes:
    with open(os.memfd_create("seccomp"), "w+b") as file:
        filter.export_bpf(file)
        file.seek(0)
        return file.read()


def _newer_calls_prologue(seccomp: Any, filter: Any, document: LinuxSeccomp) -> bytes:
    """Instructions before the filter: ENOSYS for calls above the highest named one of each architecture."""
    if document.default_action != ERRNO or document.default_errno_ret == errno.ENOSYS:
        return b""
    tokens = {seccomp.system_arch(), *(_token(seccomp, name) for name in document.architectures)}
    names = [name for rule in document.syscalls for name in rule.names]
    blocks = []
    for token in tokens - {None, seccomp.Arch.X32}:
        newest = max((seccomp.resolve_syscall(token, name) for name in names), default=_UNKNOWN_SYSCALL)
        if newest >= 0:
            blocks.append(b"".join(_newer_than(newest, token)))
    return b"".join(sorted(blocks))


def _newer_than(newest: int, token: int) -> Iterator[bytes]:
    load, equal, greater, at_least, answer = 0x20, 0x15, 0x25, 0x35, 0x06
    number, architecture = 0, 4  # offsets in struct seccomp_data
    yield struct.pack("=HBBI", load, 0, 0, architecture)
    yield struct.pack("=HBBI", equal, 0, 4, token)
    yield struct.pack("=HBBI", load, 0, 0, number)
    yield struct.pack("=HBBI", at_least, 2, 0, _X32_BIT)
    yield struct.pack("=HBBI", greater, 0, 1, newest)
    yield struct.pack("=HBBI", answer, 0, 0, _action(ERRNO, errno.ENOSYS))


class _Entry(msgspec.Struct, frozen=True):
    """A cached program, with what tells whether it still holds."""

    library: str
    stamp: tuple[int, int]
    digest: bytes
    program: bytes


def _stamp(library: str) -> tuple[int, int]:
    status = os.stat(library)
    return status.st_mtime_ns, status.st_size


def _read(path: str) -> bytes:
    """The program of an entry. Raises OSError without one, ValueError if it is damaged or out of date."""
    with open(path, "rb") as file:
        entry = msgspec.msgpack.decode(file.read(2 * _MAX_INSTRUCTIONS * _INSTRUCTION), type=decodable(_Entry))
    if entry.stamp != _stamp(entry.library):
        raise ValueError("compiled by another libseccomp")
    if entry.digest != hashlib.sha256(entry.program).digest():
        raise ValueError("damaged")
    if len(entry.program) % _INSTRUCTION or not 0 < len(entry.program) <= _MAX_INSTRUCTIONS * _INSTRUCTION:
        raise ValueError("not a program")
    return entry.program


def _write(path: str, program: bytes) -> None:
    library = _loaded_library()
    entry = _Entry(library, _stamp(library), hashlib.sha256(program).digest(), program)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.urandom(8).hex()}"
    try:
        with open(temporary, "xb") as file:
            file.write(msgspec.msgpack.encode(entry))
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _loaded_library() -> str:
    """The file this process has libseccomp from. Raises FileNotFoundError if it has none."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if os.path.basename(path).startswith("libseccomp"):
                return f"/{path}"
    raise FileNotFoundError(errno.ENOENT, "libseccomp is not loaded")
