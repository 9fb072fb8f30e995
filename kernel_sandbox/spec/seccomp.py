"""Which system calls a container may make: documents, Docker's default profile, and profile to filter.

A *profile* is Docker's form: rules that hold for some capabilities, machines and kernels. A *filter* is the
form of the runtime specification (config-linux.md, "Seccomp"), decided for one container. Everything is pure;
turning a filter into a program for the kernel is `kernel_sandbox.runtime.seccomp`'s work.
"""

import errno
import re
from collections.abc import Collection
from typing import Literal

import msgspec

from kernel_sandbox.errors import HostError, UsageError
from kernel_sandbox.spec.decoding import decodable

Action = Literal[
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_LOG",
    "SCMP_ACT_ALLOW",
]
Operator = Literal[
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
]

ALLOW: Action = "SCMP_ACT_ALLOW"
ERRNO: Action = "SCMP_ACT_ERRNO"


class _Document(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """JSON object of a specification: camelCase names, absent members at their defaults."""


class LinuxSeccompArg(_Document, frozen=True):
    """A condition on one argument; with MASKED_EQ, ``value`` is the mask, ``value_two`` what must remain."""

    index: int
    value: int
    op: Operator
    value_two: int = 0


class LinuxSyscall(_Document, frozen=True):
    """A rule: the action for the named calls, when every condition holds."""

    names: tuple[str, ...]
    action: Action
    errno_ret: int | None = None
    args: tuple[LinuxSeccompArg, ...] = ()


class LinuxSeccomp(_Document, frozen=True):
    """``linux.seccomp`` of a bundle's config.json."""

    default_action: Action
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    syscalls: tuple[LinuxSyscall, ...] = ()


class Condition(_Document, frozen=True):
    """True with ``caps`` in the bounding set, one of ``arches`` (Docker's names), kernel >= "4.8"."""

    caps: tuple[str, ...] | None = None
    arches: tuple[str, ...] | None = None
    min_kernel: str | None = None


class ProfileSyscall(_Document, frozen=True):
    """A profile's rule, left out unless ``includes`` holds whole, and if any part of ``excludes`` holds."""

    action: Action
    names: tuple[str, ...] | None = None
    name: str | None = None
    errno_ret: int | None = None
    args: tuple[LinuxSeccompArg, ...] | None = None
    includes: Condition | None = None
    excludes: Condition | None = None


class Architecture(_Document, frozen=True):
    """A machine's own calling convention and the others its kernel also speaks."""

    architecture: str
    sub_architectures: tuple[str, ...] | None = None


class Profile(_Document, frozen=True):
    """A seccomp profile as ``--security-opt seccomp=FILE`` takes it."""

    default_action: Action
    default_errno_ret: int | None = None
    arch_map: tuple[Architecture, ...] | None = None
    architectures: tuple[str, ...] | None = None
    flags: tuple[str, ...] | None = None
    syscalls: tuple[ProfileSyscall, ...] | None = None


def parse_profile(content: bytes) -> Profile:
    """Read a profile from JSON. Raises UsageError that says where the document is wrong."""
    try:
        profile = msgspec.json.decode(content, type=decodable(Profile))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"Decoding seccomp profile failed: {error}") from error
    _check(profile)
    return profile


def _check(profile: Profile) -> None:
    if profile.architectures and profile.arch_map:
        raise UsageError("the seccomp profile has both 'architectures' and 'archMap': use one of them")
    for rule in profile.syscalls or ():
        if bool(rule.name) == bool(rule.names):
            raise UsageError("each rule of a seccomp profile needs either 'name' or 'names'")
        for arg in rule.args or ():
            _check_argument(arg)
        for condition in (rule.includes, rule.excludes):
            if condition and condition.min_kernel:
                _kernel(condition.min_kernel)
    load_flags(profile.flags or ())


def _check_argument(arg: LinuxSeccompArg) -> None:
    if not 0 <= arg.index <= 5:
        raise UsageError(f"seccomp profile: argument index {arg.index} is not between 0 and 5")
    if not (0 <= arg.value < 2**64 and 0 <= arg.value_two < 2**64):
        raise UsageError("seccomp profile: an argument's value is not an unsigned 64-bit number")


_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
}


def load_flags(flags: Collection[str]) -> int:
    """A filter's ``flags`` as the bits that seccomp(2) takes. Raises UsageError for one it does not have."""
    if unknown := [flag for flag in flags if flag not in _FLAGS]:
        raise UsageError(f'seccomp flag "{unknown[0]}" is not one of {", ".join(_FLAGS)}')
    return sum(_FLAGS[flag] for flag in frozenset(flags))


_MACHINES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "i386": ("x86", "SCMP_ARCH_X86"),
    "i686": ("x86", "SCMP_ARCH_X86"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "armv6l": ("arm", "SCMP_ARCH_ARM"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "armv8l": ("arm", "SCMP_ARCH_ARM"),
    "loongarch64": ("loongarch64", "SCMP_ARCH_LOONGARCH64"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
}
"""The machine of uname(2) to Docker's name in profiles and to the name of its calling convention."""


def resolve(profile: Profile, capabilities: Collection[str], machine: str, kernel: str) -> LinuxSeccomp:
    """The filter of one container: what ``linux.seccomp`` of its config.json holds.

    ``capabilities`` is its bounding set, by full names; ``machine`` and ``kernel`` are those of uname(2).
    Raises HostError for a machine no filter can be made for.
    """
    if machine not in _MACHINES:
        raise HostError(
            f"no system call filter is known for the machine {machine}: use --security-opt seccomp=unconfined"
        )
    arch, native = _MACHINES[machine]
    return LinuxSeccomp(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=_architectures(profile, native),
        flags=profile.flags or (),
        syscalls=tuple(
            LinuxSyscall(
                names=rule.names or (rule.name or "",),
                action=rule.action,
                errno_ret=rule.errno_ret,
                args=rule.args or (),
            )
            for rule in profile.syscalls or ()
            if _holds(rule, capabilities, arch, kernel)
        ),
    )


def _architectures(profile: Profile, native: str) -> tuple[str, ...]:
    for entry in profile.arch_map or ():
        if entry.architecture == native:
            return (native, *(entry.sub_architectures or ()))
    return profile.architectures or ()


def _holds(rule: ProfileSyscall, capabilities: Collection[str], arch: str, kernel: str) -> bool:
    included = _facts(rule.includes or Condition(), capabilities, arch, kernel)
    excluded = _facts(rule.excludes or Condition(), capabilities, arch, kernel)
    return all(included) and not any(excluded)


def _facts(condition: Condition, capabilities: Collection[str], arch: str, kernel: str) -> list[bool]:
    facts = [capability in capabilities for capability in condition.caps or ()]
    if condition.arches:
        facts.append(arch in condition.arches)
    if condition.min_kernel:
        facts.append(_kernel(kernel) >= _kernel(condition.min_kernel))
    return facts


def _kernel(release: str) -> tuple[int, int]:
    found = re.match(r"(\d{1,9})\.(\d{1,9})", release)
    if found is None:
        raise UsageError(f'seccomp profile: "{release}" is not a kernel version such as 4.8')
    return int(found[1]), int(found[2])


def default_profile() -> Profile:
    """Docker's default profile, which it documents under "Seccomp security profiles for Docker".

    Stricter than moby 28 in one thing, as later releases are: sockets of the kernel's crypto interface
    (AF_ALG) are refused like those that reach the hypervisor (AF_VSOCK).
    """
    return Profile(
        default_action=ERRNO,
        default_errno_ret=errno.EPERM,
        arch_map=_ARCHITECTURES,
        syscalls=_RULES,
    )


def _rule(
    names: str,
    *args: LinuxSeccompArg,
    caps: str = "",
    arches: str = "",
    min_kernel: str | None = None,
    without_caps: str = "",
    without_arches: str = "",
    refuse_with: int | None = None,
) -> ProfileSyscall:
    return ProfileSyscall(
        names=tuple(names.split()),
        action=ALLOW if refuse_with is None else ERRNO,
        errno_ret=refuse_with,
        args=args,
        includes=Condition(tuple(caps.split()), tuple(arches.split()), min_kernel),
        excludes=Condition(tuple(without_caps.split()), tuple(without_arches.split())),
    )


def _equal(value: int) -> LinuxSeccompArg:
    return LinuxSeccompArg(0, value, "SCMP_CMP_EQ")


def _no_namespace(index: int) -> LinuxSeccompArg:
    new_namespaces = 0x7E020000  # CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
    return LinuxSeccompArg(index, new_namespaces, "SCMP_CMP_MASKED_EQ", 0)


_ARCHITECTURES = tuple(
    Architecture(f"SCMP_ARCH_{native}", tuple(f"SCMP_ARCH_{other}" for other in others.split()))
    for native, others in (
        ("X86_64", "X86 X32"),
        ("AARCH64", "ARM"),
        ("S390X", "S390"),
        ("RISCV64", ""),
        ("LOONGARCH64", ""),
    )
)

_EVERYDAY = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg send sendfile sendfile64 sendmmsg sendmsg sendto setsockopt shutdown socketcall
    socketpair

    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
    faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat
    fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64
    futimesat getcwd getdents getdents64 ioctl lchown lchown32 link linkat _llseek lseek lstat lstat64 mkdir
    mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 rmdir
    splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate
    truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev cachestat
    listmount statmount

    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat
    llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat

    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
    io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll ppoll
    ppoll_time64 pselect6 pselect6_time64 select

    brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap
    mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    remap_file_pages

    capget capset execve execveat exit exit_group fork getcpu getegid getegid32 geteuid geteuid32 getgid
    getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32
    getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 get_thread_area ioprio_get
    ioprio_set kill pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease riscv_hwprobe rseq
    setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid
    setuid setuid32 set_thread_area set_tid_address tgkill tkill ugetrlimit uretprobe vfork wait4 waitid
    waitpid

    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield

    pause restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack signalfd signalfd4
    sigprocmask sigreturn

    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list ipc mq_getsetattr
    mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
    msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 set_robust_list shmat
    shmctl shmdt shmget

    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times

    getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp sysinfo uname
"""

_AF_ALG, _AF_VSOCK = 38, 40
_PERSONALITIES = (0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux, 32 bit, old uname, both, "tell me which"

_RULES = (
    _rule(_EVERYDAY),
    _rule("process_vm_readv process_vm_writev ptrace", min_kernel="4.8"),
    _rule("socket", LinuxSeccompArg(0, _AF_ALG, "SCMP_CMP_LT")),
    _rule("socket", _equal(_AF_ALG + 1)),
    _rule("socket", LinuxSeccompArg(0, _AF_VSOCK, "SCMP_CMP_GT")),
    *(_rule("personality", _equal(persona)) for persona in _PERSONALITIES),
    _rule("sync_file_range2 swapcontext", arches="ppc64le"),
    _rule(
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        arches="arm arm64",
    ),
    _rule("arch_prctl", arches="amd64 x32"),
    _rule("modify_ldt", arches="amd64 x32 x86"),
    _rule("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr", arches="s390 s390x"),
    _rule("riscv_flush_icache", arches="riscv64"),
    _rule("open_by_handle_at", caps="CAP_DAC_READ_SEARCH"),
    _rule(
        """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
        quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
        """,
        caps="CAP_SYS_ADMIN",
    ),
    _rule("clone", _no_namespace(0), without_caps="CAP_SYS_ADMIN", without_arches="s390 s390x"),
    _rule("clone", _no_namespace(1), arches="s390 s390x", without_caps="CAP_SYS_ADMIN"),
    # Its flags are behind a pointer no filter can follow; "not implemented" makes C libraries use clone.
    _rule("clone3", without_caps="CAP_SYS_ADMIN", refuse_with=errno.ENOSYS),
    _rule("reboot", caps="CAP_SYS_BOOT"),
    _rule("chroot", caps="CAP_SYS_CHROOT"),
    _rule("delete_module init_module finit_module", caps="CAP_SYS_MODULE"),
    _rule("acct", caps="CAP_SYS_PACCT"),
    _rule(
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
        caps="CAP_SYS_PTRACE",
    ),
    _rule("iopl ioperm", caps="CAP_SYS_RAWIO"),
    _rule("settimeofday stime clock_settime clock_settime64", caps="CAP_SYS_TIME"),
    _rule("vhangup", caps="CAP_SYS_TTY_CONFIG"),
    _rule("get_mempolicy mbind set_mempolicy set_mempolicy_home_node", caps="CAP_SYS_NICE"),
    _rule("syslog", caps="CAP_SYSLOG"),
    _rule("bpf", caps="CAP_BPF"),
    _rule("perf_event_open", caps="CAP_PERFMON"),
)
