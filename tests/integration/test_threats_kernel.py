"""What the host's kernel is asked for from inside: mounts, devices, modules, clocks, keys, logs, settings.

The programs that ask are in ``support.attacks``. Each runs once, in one container; a test looks at one kind of attempt.
"""

import pytest
from support.attacks import DONE, outcomes

pytestmark = pytest.mark.same_without_root

MASKED = {"/proc/interrupts", "/proc/keys", "/proc/kcore", "/proc/latency_stats", "/proc/sched_debug"}
MASKED |= {"/proc/timer_list", "/proc/timer_stats"}
FOR_EVERYBODY = {"/proc/mounts", "/proc/pressure/cpu", "/proc/pressure/io", "/proc/pressure/irq"}
FOR_EVERYBODY |= {"/proc/pressure/memory"}
# With every capability inside and no filter a container may do as it likes with what is its own. What is the machine's
# is asked for in the first user namespace, where it has none (capabilities(7), capable and ns_capable).
OF_THE_MACHINE = (
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "acct", "swapon",
    "open_by_handle_at", "clear the kernel log", "clock_settime", "settimeofday", "adjtimex", "clock_adjtime",
    "the audit log",
)  # fmt: skip


@pytest.fixture(scope="module")
def answers(shared_store, python_image) -> dict[str, str]:
    """What the kernel says to a container with Docker's defaults."""
    return outcomes(shared_store, python_image, "kernel")


@pytest.fixture(scope="module")
def loosened(shared_store, python_image) -> dict[str, str]:
    """The same with every capability and no filter of system calls: what is left is the user namespace."""
    flags = ("--cap-add", "ALL", "--security-opt", "seccomp=unconfined")
    themes = ("a_mount", "kernel_objects", "clocks", "sockets", "devices")
    return outcomes(shared_store, python_image, "kernel", *flags, arguments=themes)


@pytest.fixture(scope="module", params=["none", "host"])
def files(shared_store, python_image, request) -> dict:
    """What can be written in /proc and /sys; ``--network host`` shows the machine's own /sys."""
    return outcomes(shared_store, python_image, "files", "--network", request.param)


def done(answers: dict[str, str], *names: str) -> list[str]:
    assert names
    return [name for name in names if answers[name] == DONE]


def test_no_filesystem_is_mounted_moved_or_unmounted(answers):
    attempts = ("mount a tmpfs", "mount proc anew", "bind", "remount /sys writable", "move a mask away")
    attempts += ("unmount a mask", "pivot", "open_tree", "move_mount", "fsopen", "fspick", "mount_setattr")
    assert not done(answers, *attempts)


def test_no_namespace_is_made_or_entered(answers):
    # A user namespace of one's own is the way to most holes of the kernel's; glibc asks by clone3 first.
    assert not done(answers, *(name for name in answers if name.startswith(("unshare", "clone a", "setns"))))
    assert answers["clone3"] == "ENOSYS"


def test_no_module_kernel_or_program_is_loaded_into_the_kernel(answers):
    assert not done(answers, "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "bpf")


def test_nothing_of_the_whole_machine_is_switched(answers):
    attempts = ("reboot", "swapon", "acct", "quotactl", "the host name", "the domain name", "hang a terminal up")
    assert not done(answers, *attempts, "another personality")


def test_interfaces_with_a_history_of_holes_are_closed(answers):
    assert not done(answers, "userfaultfd", "perf_event_open", "io_uring_setup", "fanotify_init", "AF_VSOCK")


def test_a_file_is_not_opened_by_its_number_on_the_disk(answers):
    # "Shocker": CAP_DAC_READ_SEARCH walked the host's filesystem by handles, whatever was mounted inside.
    assert answers["open_by_handle_at"] == "EPERM"


def test_keyrings_are_out_of_reach(answers):
    assert not done(answers, "add_key", "request_key", *(name for name in answers if name.endswith("keyring")))


def test_the_kernel_log_is_neither_read_nor_cleared(answers, files):
    assert not done(answers, "the kernel log", "its size", "clear the kernel log", "open /dev/kmsg")
    assert files["read /proc/kmsg"] != DONE


def test_the_clock_is_not_set(answers):
    assert not done(answers, "clock_settime", "settimeofday", "adjtimex", "clock_adjtime")


def test_no_device_of_the_hosts_is_made_or_opened(answers):
    assert not done(answers, *(name for name in answers if name.startswith(("mknod", "open /dev"))))


def test_events_and_audits_of_the_host_do_not_come(answers):
    assert not done(answers, "the audit log", "kernel events")


def test_a_chroot_is_no_way_out(answers):
    assert answers["up and out of chroot"] == "the same root"


def test_all_capabilities_and_no_filter_still_change_nothing_of_the_machines(loosened):
    assert loosened["mount a tmpfs"] == DONE, "what is its own is the container's"
    assert not done(loosened, *OF_THE_MACHINE)
    assert not done(loosened, *(name for name in loosened if name.startswith(("mknod", "open /dev"))))


def test_settings_of_the_kernel_are_not_changed(files):
    # CVE-2025-52881: a write to core_pattern or sysrq-trigger is the host's root or its end.
    assert not done(files, *(name for name in files if name.startswith(("/proc", "/sys"))))


def test_nothing_of_proc_and_sys_opens_for_writing(files):
    # What is masked is the host's /dev/null; the others are anybody's (mode 0666), and change nothing.
    assert set(files["writable in /proc"]) <= MASKED | FOR_EVERYBODY
    assert files["writable in /sys"] == []


def test_control_groups_are_not_written(files):
    # CVE-2022-0492, CVE-2023-25809: release_agent, and a rootless user's own groups.
    assert files["control groups"] == []


def test_masked_files_and_directories_are_empty(files):
    told = {name: answer for name, answer in files.items() if name.startswith(("read", "list"))}
    assert told
    assert set(told.values()) <= {"empty", "ENOENT", "EACCES", "EPERM", "EIO"}, told
