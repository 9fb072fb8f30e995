"""Inside a container with every capability and no filter: mounts its control groups anew and tries to lead out of them.

The first way is release_agent: a program that the kernel runs as root of the machine when a group gets empty
(CVE-2022-0492). The others are limits and devices that the container would give itself, and groups above its own.
"""

import ctypes
import errno
import json
import os

libc = ctypes.CDLL(None, use_errno=True)
found = {}
with open("/proc/self/cgroup") as file:
    hierarchies = [line.strip().split(":", 2)[1] for line in file]


def tries(what, function, *arguments):
    try:
        function(*arguments)
        found[what] = "done"
    except OSError as error:
        found[what] = errno.errorcode[error.errno]


def writes(path, text):
    with open(path, "w") as file:
        file.write(text)


def mounted(name, place):
    """Whether a hierarchy that the machine has could be mounted, writable."""
    os.makedirs(place, exist_ok=True)
    fstype, data = (b"cgroup", name.encode()) if name else (b"cgroup2", None)
    return libc.mount(b"x", os.fsencode(place), fstype, ctypes.c_ulong(0), data) == 0


VALUES = {
    "release_agent": "/tmp/agent",
    "notify_on_release": "1",
    "cgroup.procs": "1",
    "tasks": "1",
    "devices.allow": "a",
    "memory.limit_in_bytes": "-1",
    "memory.max": "max",
    "pids.max": "max",
    "cgroup.subtree_control": "+pids",
}
found["mounted"] = []
for name in hierarchies:
    place = f"/tmp/groups/{name or 'unified'}"
    if not mounted(name, place):
        continue
    found["mounted"].append(name)
    tries(f"{name}: a group of its own", os.mkdir, f"{place}/own")
    for directory in (place, f"{place}/.."):
        for value in VALUES:
            if os.path.exists(f"{directory}/{value}"):
                tries(f"{name}: {value}", writes, f"{directory}/{value}", VALUES[value])
print(json.dumps(found))
