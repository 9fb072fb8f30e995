"""Inside a container: watches for processes that the engine brings in, and grabs at each until it is the command.

Between its coming and its execve(2) such a process is the engine's own program, with the host behind its descriptors
(CVE-2016-9962, CVE-2019-5736, CVE-2024-21626). What was got of one that is not a program of the image is told as JSON
when the standard input ends.
"""

import contextlib
import json
import os
import select

OWN = os.readlink("/proc/self/exe")
KNOWN = {OWN, "/bin/busybox"}
got = {}
seen, refused = set(), set()


def grab(pid):
    """Everything of a process that would lead out of here."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except PermissionError:
        refused.add(pid)
        program = "?"
    if program in KNOWN:
        return
    if program != "?":
        got.setdefault("its program", program)
    for name in ("exe", "mem", "environ", "maps"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb", 0) as file:
            note(pid, name, file.fileno())
    for name in ("root", "cwd"):
        with contextlib.suppress(OSError):
            note(pid, name, os.open(f"/proc/{pid}/{name}", os.O_PATH))
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            note(pid, f"descriptor {number}", os.open(f"/proc/{pid}/fd/{number}", os.O_PATH))


def note(pid, what, descriptor):
    """It counts only if the process was still not a program of the image after we had it."""
    with contextlib.suppress(OSError):
        if os.readlink(f"/proc/{pid}/exe") in KNOWN:
            return
    with contextlib.suppress(FileNotFoundError):
        os.stat(f"/proc/{pid}")
        got.setdefault(what, os.readlink(f"/proc/self/fd/{descriptor}"))


print("watching", flush=True)
while not select.select([0], [], [], 0)[0]:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in (1, os.getpid()):
            seen.add(name)
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                grab(name)
print(json.dumps({"seen": len(seen), "refused": len(refused), "got": got}))
