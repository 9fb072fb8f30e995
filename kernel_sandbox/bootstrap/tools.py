"""A POSIX shell and the usual small tools: busybox where this machine has it, its own programs otherwise.

Interpreters of other languages, compilers and network clients do not belong here.
"""

import os
import shutil
from collections.abc import Iterator
from posixpath import basename, join

from kernel_sandbox.bootstrap import busybox
from kernel_sandbox.bootstrap.rootfs import Copy, Entry, Symlink
from kernel_sandbox.errors import CorruptContent, HostError

_BIN = "usr/bin"
_PATH = os.pathsep.join(("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"))
_HOST_TOOLS = """
sh bash [ awk base64 basename cat chgrp chmod chown chroot cksum cmp comm cp cut date dd df diff dirname du echo egrep
env expand expr false fgrep find fold free grep groups gunzip gzip head hostname id install join kill less link ln ls
md5sum mkdir mkfifo mknod mktemp more mount mv nice nl nohup nproc od paste pgrep pkill printenv printf ps pwd readlink
realpath rm rmdir sed seq sha1sum sha256sum sha512sum sleep sort split stat stty sync tac tail tar tee test timeout top
touch tr true truncate tsort tty umount uname uniq unlink uptime wc which who whoami xargs yes
"""
_TERMINALS = (
    "ansi",
    "dumb",
    "linux",
    "screen",
    "tmux",
    "tmux-256color",
    "vt100",
    "vt220",
    "xterm",
    "xterm-256color",
)
_TERMINFO = ("/usr/share/terminfo", "/lib/terminfo", "/etc/terminfo")


def entries() -> Iterator[Entry]:
    """A shell and tools from this machine. Raises HostError if it has no shell."""
    binary = shutil.which("busybox", path=_PATH)
    names = _applets(binary) if binary else ()
    if binary and "sh" in names:
        yield Copy(join(_BIN, "busybox"), os.path.realpath(binary))
        yield from links(names)
    else:
        yield from _host_tools()
    yield from _terminals()


def links(names: tuple[str, ...]) -> Iterator[Entry]:
    """One link to busybox for each of its applets."""
    return (Symlink(join(_BIN, name), "busybox") for name in names if name != "busybox")


def _applets(binary: str) -> tuple[str, ...]:
    try:
        with open(binary, "rb") as file:
            return busybox.applets(file.read(busybox.MAX_SIZE))
    except (OSError, CorruptContent):
        return ()


def _host_tools() -> Iterator[Entry]:
    found = {name: path for name in _HOST_TOOLS.split() if (path := shutil.which(name, path=_PATH))}
    if "sh" not in found:
        raise HostError("no shell on this machine to put into the image: install busybox")
    for name, path in found.items():
        real = os.path.realpath(path)
        yield Copy(join(_BIN, basename(real)), real)
        if basename(real) != name:
            yield Symlink(join(_BIN, name), basename(real))


def _terminals() -> Iterator[Entry]:
    for name in _TERMINALS:
        for base in _TERMINFO:
            description = join(base, name[0], name)
            if os.path.isfile(description):
                yield Copy(f"usr/share/terminfo/{name[0]}/{name}", description)
                break
