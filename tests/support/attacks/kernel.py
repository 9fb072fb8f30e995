"""Inside a container: asks the kernel for what only root of the host may have; everything, or the themes named."""

import ctypes
import errno
import json
import os
import socket
import struct
import sys
import time

NUMBERS = {
    "x86_64": {
        "mount": 165, "umount2": 166, "pivot_root": 155, "swapon": 167, "reboot": 169, "settimeofday": 164,
        "clock_settime": 227, "adjtimex": 159, "clock_adjtime": 305, "init_module": 175, "delete_module": 176,
        "finit_module": 313, "kexec_load": 246, "kexec_file_load": 320, "syslog": 103, "acct": 163, "bpf": 321,
        "perf_event_open": 298, "userfaultfd": 323, "add_key": 248, "request_key": 249, "keyctl": 250, "setns": 308,
        "unshare": 272, "clone": 56, "open_by_handle_at": 304, "quotactl": 179, "lookup_dcookie": 212, "mknod": 259,
        "sethostname": 170, "setdomainname": 171, "personality": 135, "vhangup": 153, "fanotify_init": 300,
    },
    "aarch64": {
        "mount": 40, "umount2": 39, "pivot_root": 41, "swapon": 224, "reboot": 142, "settimeofday": 170,
        "clock_settime": 112, "adjtimex": 171, "clock_adjtime": 266, "init_module": 105, "delete_module": 106,
        "finit_module": 273, "kexec_load": 104, "kexec_file_load": 294, "syslog": 116, "acct": 89, "bpf": 280,
        "perf_event_open": 241, "userfaultfd": 282, "add_key": 217, "request_key": 218, "keyctl": 219, "setns": 268,
        "unshare": 97, "clone": 220, "open_by_handle_at": 265, "quotactl": 60, "lookup_dcookie": 18, "mknod": 33,
        "sethostname": 161, "setdomainname": 162, "personality": 92, "vhangup": 58, "fanotify_init": 262,
    },
}[os.uname().machine]  # fmt: skip
NUMBERS |= {
    "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fspick": 433, "clone3": 435,
    "mount_setattr": 442, "quotactl_fd": 443,
}  # fmt: skip
AT_FDCWD = -100
SIGCHLD = 17
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
found = {}


def call(name, *arguments):
    return libc.syscall(
        ctypes.c_long(NUMBERS[name]), *(a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments)
    )


def note(what, result):
    found[what] = "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def tries(what, function, *arguments):
    try:
        function(*arguments)
        found[what] = "done"
    except OSError as error:
        found[what] = errno.errorcode.get(error.errno, "nothing came")


def a_mount():
    note("mount a tmpfs", call("mount", b"x", b"/root", b"tmpfs", 0, 0))


def mounts():
    note("mount proc anew", call("mount", b"proc", b"/tmp", b"proc", 0, 0))
    note("bind", call("mount", b"/etc", b"/tmp", 0, 4096, 0))
    note("remount /sys writable", call("mount", b"x", b"/sys", 0, 32 | 4096, 0))
    note("move a mask away", call("mount", b"/proc/kcore", b"/tmp", 0, 8192, 0))
    note("unmount a mask", call("umount2", b"/proc/keys", 2))
    note("pivot", call("pivot_root", b"/", b"/tmp"))
    note("open_tree", call("open_tree", AT_FDCWD, b"/", 1))
    note("move_mount", call("move_mount", AT_FDCWD, b"/proc/sys", AT_FDCWD, b"/tmp", 0))
    note("fsopen", call("fsopen", b"tmpfs", 0))
    note("fspick", call("fspick", AT_FDCWD, b"/sys", 0))
    note("mount_setattr", call("mount_setattr", AT_FDCWD, b"/sys", 0, struct.pack("=4Q", 0, 1, 0, 0), 32))


def namespaces():
    for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("pid", 0x20000000), ("network", 0x40000000)):
        note(f"unshare the {name} namespace", call("unshare", flag))
    note("unshare the cgroup namespace", call("unshare", 0x02000000))
    note("clone a user namespace", call("clone", 0x10000000 | SIGCHLD, 0, 0, 0, 0))
    note("clone3", call("clone3", bytes(88), 88))
    own = os.open("/proc/1/ns/mnt", os.O_RDONLY)
    note("setns", call("setns", own, 0))


def kernel_objects():
    for name in ("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "bpf", "acct"):
        note(name, call(name, 0, 0, 0, 0, 0))
    for name in ("swapon", "perf_event_open", "userfaultfd", "io_uring_setup", "fanotify_init", "quotactl"):
        note(name, call(name, 0, 0, 0, 0, 0))
    note("reboot", call("reboot", 0xFEE1DEAD, 672274793, 0, 0))
    note("open_by_handle_at", call("open_by_handle_at", AT_FDCWD, struct.pack("=2I", 8, 1) + bytes(8), 0))
    note("the kernel log", call("syslog", 3, ctypes.create_string_buffer(64).raw, 64))
    note("its size", call("syslog", 10, 0, 0))
    note("clear the kernel log", call("syslog", 5, 0, 0))
    note("hang a terminal up", call("vhangup"))
    note("another personality", call("personality", 0x0400000))
    note("the host name", call("sethostname", b"other", 5))
    note("the domain name", call("setdomainname", b"other", 5))


def keyrings():
    note("add_key", call("add_key", b"user", b"x", b"y", 1, -3))
    note("request_key", call("request_key", b"user", b"x", 0, -3))
    for name, ring in (("session", -3), ("user", -4), ("user session", -5)):
        note(f"the {name} keyring", call("keyctl", 0, ring, 0))


def clocks():
    now = time.time()
    moment = struct.pack("=qq", int(now), 0)
    note("clock_settime", call("clock_settime", 0, moment))
    note("settimeofday", call("settimeofday", moment, 0))
    note("adjtimex", call("adjtimex", struct.pack("=I204x", 1)))
    note("clock_adjtime", call("clock_adjtime", 0, struct.pack("=I204x", 1)))


def sockets():
    tries("AF_VSOCK", lambda: socket.socket(40, socket.SOCK_STREAM).close())
    tries("the audit log", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9).bind((0, 1)))
    tries("kernel events", kernel_events)


def kernel_events():
    """Only those of the container's own network namespace come: a datagram would be the host's."""
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)
    events.bind((0, 1))
    events.settimeout(0.1)
    events.recv(1)


def devices():
    os.makedirs("/dev/shm/d", exist_ok=True)
    for directory in ("/tmp", "/dev", "/dev/shm/d", "/root"):
        for name, mode, number in (("mem", 0o020666, (1, 1)), ("disk", 0o060666, (8, 0)), ("kmsg", 0o020666, (1, 11))):
            tries(f"mknod {directory}/{name}", os.mknod, f"{directory}/{name}", mode, os.makedev(*number))
    for name in (
        "mem",
        "kmem",
        "port",
        "kmsg",
        "sda",
        "vda",
        "loop0",
        "loop-control",
        "fuse",
        "kvm",
        "net/tun",
        "console",
    ):
        tries(f"open /dev/{name}", os.open, f"/dev/{name}", os.O_RDWR)


def chroot_escape():
    """The oldest way out: a root directory below the one we stand in, and then up and up."""
    before = os.stat("/").st_ino
    os.makedirs("/tmp/jail", exist_ok=True)
    here = os.open("/", os.O_RDONLY)
    os.chroot("/tmp/jail")
    os.fchdir(here)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    found["up and out of chroot"] = "the same root" if os.stat("/").st_ino == before else "done"


themes = (a_mount, mounts, namespaces, kernel_objects, keyrings, clocks, sockets, devices, chroot_escape)
for theme in themes:
    if theme.__name__ in sys.argv[1:] or len(sys.argv) == 1:
        theme()
print(json.dumps(found))
