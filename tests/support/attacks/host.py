"""Inside a container: reaches for a process, sockets and shared memory of the host's, which the arguments name."""

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import sys

ARGUMENTS = dict(word.split("=", 1) for word in sys.argv[1:])
PID = int(ARGUMENTS["pid"])
NUMBERS = {
    "x86_64": {"ptrace": 101, "process_vm_readv": 310, "kcmp": 312},
    "aarch64": {"ptrace": 117, "process_vm_readv": 270, "kcmp": 272},
}[os.uname().machine]
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
libc = ctypes.CDLL(None, use_errno=True)
BUFFER = ctypes.create_string_buffer(8)
PIECE = (ctypes.c_ulong * 2)(ctypes.addressof(BUFFER), 8)  # struct iovec
VECTOR = ctypes.addressof(PIECE)
found = {}


def tries(what, function, *arguments):
    try:
        function(*arguments)
        found[what] = "done"
    except OSError as error:
        found[what] = errno.errorcode[error.errno]


def call(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "")


def connects(address):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)


def processes():
    tries("a descriptor of it", os.pidfd_open, PID)
    tries("attach to it", call, NUMBERS["ptrace"], PTRACE_ATTACH, PID, 0, 0)
    tries("seize it", call, NUMBERS["ptrace"], PTRACE_SEIZE, PID, 0, 0)
    tries("read its memory", call, NUMBERS["process_vm_readv"], PID, VECTOR, 1, VECTOR, 1, 0)
    tries("compare with it", call, NUMBERS["kcmp"], os.getpid(), PID, 0, 0, 0)
    tries("its limits", resource.prlimit, PID, resource.RLIMIT_NOFILE)
    tries("its priority", os.setpriority, os.PRIO_PROCESS, PID, 19)
    tries("its scheduler", os.sched_setaffinity, PID, [0])
    tries("its /proc", os.stat, f"/proc/{PID}")
    for number in (0, signal.SIGKILL):
        tries(f"signal {number}", os.kill, PID, number)
    tries("signal its group", os.killpg, PID, signal.SIGKILL)
    found["parent"] = os.getppid()
    found["every process"] = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def sockets():
    tries("an abstract socket", connects, "\0" + ARGUMENTS["abstract"])
    tries("a socket in a directory", connects, ARGUMENTS["path"])


def memory():
    tries("shared memory", attach, int(ARGUMENTS["shm"]))


def attach(key):
    if libc.shmget(key, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "")


def descriptors():
    """What is open, by where it leads: the listing's own is gone when it is asked for."""
    for number in os.listdir("/proc/self/fd"):
        if os.path.lexists(f"/proc/self/fd/{number}"):
            found[f"descriptor {number}"] = os.readlink(f"/proc/self/fd/{number}").partition(":")[0]
    found["environment"] = sorted(os.environ)


for theme in (processes, sockets, memory, descriptors):
    theme()
json.dump(found, sys.stdout)
