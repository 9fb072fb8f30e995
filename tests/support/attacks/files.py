"""Inside a container: looks for files of the kernel's that it may write, and for masked ones that it may read."""

import errno
import json
import os
import sys

found = {}


def tries(what, function, *arguments):
    try:
        function(*arguments)
        found[what] = "done"
    except OSError as error:
        found[what] = errno.errorcode[error.errno]


def writes(path, text):
    with open(path, "w") as file:
        file.write(text)


def writable(top):
    """Every file below that opens for writing, but those of processes, which are the container's own."""
    for directory, names, files in os.walk(top):
        if directory == "/proc":
            names[:] = [name for name in names if not name.isdigit() and name not in ("self", "thread-self")]
        for name in files:
            path = os.path.join(directory, name)
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                continue
            yield path


SETTINGS = {
    "/proc/sys/kernel/core_pattern": "|/tmp/x",
    "/proc/sys/kernel/modprobe": "/tmp/x",
    "/proc/sys/kernel/panic": "1",
    "/proc/sys/kernel/hostname": "x",
    "/proc/sys/vm/overcommit_memory": "1",
    "/proc/sys/fs/binfmt_misc/register": ":x:E::x::/tmp/x:",
    "/proc/sys/net/ipv4/ip_forward": "1",
    "/proc/sysrq-trigger": "h",
    "/proc/self/oom_score_adj": "-1000",
    "/proc/1/oom_score_adj": "-1000",
    "/proc/self/uid_map": "0 0 1",
    "/proc/self/setgroups": "allow",
    "/proc/self/attr/exec": "x",
    "/proc/mtrr": "x",
    "/sys/kernel/uevent_helper": "/tmp/x",
    "/sys/kernel/mm/ksm/run": "1",
    "/sys/power/state": "mem",
    "/sys/module/overlay/parameters/redirect_max": "1",
}
READ = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/kmsg", "/proc/sched_debug")

for path, text in SETTINGS.items():
    tries(path, writes, path, text)
for path in READ:
    try:
        with open(path, "rb") as file:
            found[f"read {path}"] = "done" if file.read(1) else "empty"
    except OSError as error:
        found[f"read {path}"] = errno.errorcode[error.errno]
for directory in ("/sys/firmware", "/proc/acpi", "/proc/scsi", "/sys/devices/virtual/powercap"):
    found[f"list {directory}"] = "done" if os.path.isdir(directory) and os.listdir(directory) else "empty"
for top in ("/proc", "/sys"):
    found[f"writable in {top}"] = sorted(writable(top))
found["control groups"] = sorted(
    os.path.join(directory, name)
    for directory, names, _ in os.walk("/sys/fs/cgroup")
    for name in [*names, "."]
    if os.access(os.path.join(directory, name), os.W_OK)
)
json.dump(found, sys.stdout)
