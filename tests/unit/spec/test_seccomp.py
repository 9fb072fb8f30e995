"""Seccomp documents, Docker's default profile and what it becomes for one container."""

import errno
import json

import msgspec
import pytest

from kernel_sandbox.errors import HostError, UsageError
from kernel_sandbox.spec import capabilities, seccomp
from kernel_sandbox.spec.seccomp import LinuxSeccomp, LinuxSyscall


def resolve(*extra: str, machine: str = "x86_64", kernel: str = "6.1.0-18-amd64") -> LinuxSeccomp:
    return seccomp.resolve(seccomp.default_profile(), (*capabilities.DEFAULT, *extra), machine, kernel)


def rules(document: LinuxSeccomp, name: str) -> list[LinuxSyscall]:
    return [rule for rule in document.syscalls if name in rule.names]


def allowed(document: LinuxSeccomp, name: str) -> bool:
    return any(rule.action == "SCMP_ACT_ALLOW" for rule in rules(document, name))


def test_default_answers_eperm_and_speaks_for_all_three_conventions_of_x86() -> None:
    document = resolve()
    assert (document.default_action, document.default_errno_ret) == ("SCMP_ACT_ERRNO", errno.EPERM)
    assert document.architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")


@pytest.mark.parametrize("name", ["openat", "execve", "ptrace", "arch_prctl", "chroot", "memfd_create", "mknod"])
def test_everyday_calls_are_allowed(name: str) -> None:
    assert allowed(resolve(), name)


@pytest.mark.parametrize(
    "name",
    """
    io_uring_setup io_uring_enter io_uring_register keyctl add_key request_key mount umount2 unshare setns bpf
    perf_event_open kexec_load init_module userfaultfd pivot_root open_by_handle_at swapon syslog reboot acct
    """.split(),  # noqa: SIM905
)
def test_calls_that_reach_beyond_the_container_are_not_named(name: str) -> None:
    assert not allowed(resolve(), name)


def test_no_call_is_allowed_twice_in_the_everyday_rule() -> None:
    names = resolve().syscalls[0].names
    assert len(names) == len(set(names))


def test_clone3_is_not_implemented_so_that_c_libraries_fall_back() -> None:
    [rule] = rules(resolve(), "clone3")
    assert (rule.action, rule.errno_ret) == ("SCMP_ACT_ERRNO", errno.ENOSYS)


def test_clone_is_allowed_without_new_namespaces() -> None:
    [rule] = rules(resolve(), "clone")
    [argument] = rule.args
    assert argument == seccomp.LinuxSeccompArg(0, 0x7E020000, "SCMP_CMP_MASKED_EQ", 0)


def test_clone_has_its_flags_second_on_s390x() -> None:
    [rule] = rules(resolve(machine="s390x"), "clone")
    assert rule.args[0].index == 1


def test_cap_sys_admin_opens_what_makes_containers() -> None:
    document = resolve("CAP_SYS_ADMIN")
    assert all(allowed(document, name) for name in ("mount", "unshare", "setns", "clone3", "bpf"))
    assert rules(document, "clone3")[0].action == "SCMP_ACT_ALLOW"
    assert all(not rule.args for rule in rules(document, "clone"))


def test_ptrace_needs_a_kernel_of_4_8_or_the_capability() -> None:
    assert not allowed(resolve(kernel="4.7.9"), "ptrace")
    assert allowed(resolve(kernel="4.10.0"), "ptrace")
    assert allowed(resolve("CAP_SYS_PTRACE", kernel="4.7.9"), "ptrace")


def test_rules_for_other_machines_are_left_out() -> None:
    assert not allowed(resolve(machine="aarch64"), "arch_prctl")
    assert allowed(resolve(machine="aarch64"), "cacheflush")
    assert resolve(machine="riscv64").architectures == ("SCMP_ARCH_RISCV64",)


def test_an_unknown_machine_is_the_hosts_fault() -> None:
    with pytest.raises(HostError, match="sparc64"):
        resolve(machine="sparc64")


def test_the_filter_round_trips_in_the_runtime_specifications_form() -> None:
    document = resolve()
    encoded = msgspec.json.encode(document)
    assert msgspec.json.decode(encoded, type=LinuxSeccomp) == document
    plain = json.loads(encoded)
    assert plain["defaultErrnoRet"] == 1
    assert {"names", "action"} <= set(plain["syscalls"][0]) <= {"names", "action", "args", "errnoRet"}


def test_a_profile_in_dockers_form_is_read() -> None:
    profile = seccomp.parse_profile(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": None}],
                "syscalls": [
                    {"name": "mkdir", "action": "SCMP_ACT_ERRNO", "args": None, "comment": "old form"},
                    {
                        "names": ["chmod", "fchmod"],
                        "action": "SCMP_ACT_ERRNO",
                        "errnoRet": 13,
                        "includes": {"caps": ["CAP_KILL"], "minKernel": "4.8"},
                        "excludes": {"arches": ["arm64"]},
                    },
                ],
            }
        ).encode()
    )
    document = seccomp.resolve(profile, ["CAP_KILL"], "x86_64", "6.1")
    assert [rule.names for rule in document.syscalls] == [("mkdir",), ("chmod", "fchmod")]
    assert document.syscalls[1].errno_ret == 13
    assert [r.names for r in seccomp.resolve(profile, [], "x86_64", "6.1").syscalls] == [("mkdir",)]
    assert [r.names for r in seccomp.resolve(profile, ["CAP_KILL"], "aarch64", "6.1").syscalls] == [("mkdir",)]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "Decoding seccomp profile failed"),
        (b"\xff", "Decoding seccomp profile failed"),
        (b"[" * 100_000, "Decoding seccomp profile failed"),
        (b"[]", "Decoding seccomp profile failed"),
        (b"{}", "defaultAction"),
        (b'{"defaultAction": "SCMP_ACT_NOTIFY"}', "SCMP_ACT_NOTIFY"),
        (b'{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}', "'name' or 'names'"),
        (
            b'{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],'
            b'"archMap":[{"architecture":"SCMP_ARCH_X86"}]}',
            "use one of them",
        ),
        (
            b'{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","action":"SCMP_ACT_ALLOW",'
            b'"args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}',
            "index 6",
        ),
        (
            b'{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","action":"SCMP_ACT_ALLOW",'
            b'"args":[{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}]}]}',
            "unsigned",
        ),
        (
            b'{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","action":"SCMP_ACT_ALLOW",'
            b'"includes":{"minKernel":"new"}}]}',
            '"new" is not a kernel version',
        ),
        (b'{"defaultAction":"SCMP_ACT_ALLOW","flags":["FAST"]}', '"FAST" is not one of'),
    ],
)
def test_a_wrong_profile_is_one_line_that_says_why(content: bytes, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        seccomp.parse_profile(content)
    assert "\n" not in str(caught.value)


def test_flags_become_bits() -> None:
    assert seccomp.load_flags(()) == 0
    assert seccomp.load_flags(("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW")) == 6
