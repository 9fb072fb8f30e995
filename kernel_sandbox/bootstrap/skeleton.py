"""The files and directories every root filesystem has, whatever runs in it.

Directories, accounts, names, time zone, certificates. Programs and libraries do not belong here.
"""

import os
from collections.abc import Iterator

from kernel_sandbox.bootstrap.rootfs import MERGED, Copy, Directory, Entry, Symlink, Text

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"

_HOST_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_DIRECTORIES = (
    *("dev", "etc", "home", "mnt", "opt", "proc", "run", "srv", "sys", "usr", "var"),
    *("usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "usr/share"),
    *("usr/local", "usr/local/bin", "usr/local/lib", "usr/local/sbin", "usr/local/share"),
    *("var/cache", "var/lib", "var/log"),
)
_USERS = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
mail:x:8:8:mail:/var/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
"""
_GROUPS = """\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
tty:x:5:
disk:x:6:
mail:x:8:
www-data:x:33:
users:x:100:
nogroup:x:65534:
"""
_NSSWITCH = """\
passwd: files
group: files
shadow: files
hosts: files dns
services: files
protocols: files
"""
_PROTOCOLS = "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n"
_SERVICES = """\
ftp 21/tcp
ssh 22/tcp
smtp 25/tcp
domain 53/tcp
domain 53/udp
http 80/tcp
ntp 123/udp
https 443/tcp
"""
_OS_RELEASE = """\
NAME="kernel-sandbox"
ID=kernel-sandbox
PRETTY_NAME="kernel-sandbox base image"
"""


def skeleton() -> Iterator[Entry]:
    """The entries that depend on nothing."""
    yield from (Directory(path) for path in _DIRECTORIES)
    yield from (Directory(path, 0o1777) for path in ("tmp", "var/tmp"))
    yield Directory("root", 0o700)
    yield from (Symlink(top, f"usr/{top}") for top in MERGED)
    yield Symlink("var/run", "/run")
    yield Symlink("etc/mtab", "/proc/mounts")
    yield Text("etc/passwd", _USERS.encode())
    yield Text("etc/group", _GROUPS.encode())
    yield Text("etc/nsswitch.conf", _NSSWITCH.encode())
    yield Text("etc/protocols", _PROTOCOLS.encode())
    yield Text("etc/services", _SERVICES.encode())
    yield Text("etc/os-release", _OS_RELEASE.encode())
    yield Text("usr/share/zoneinfo/UTC", _utc())
    yield Symlink("etc/localtime", "/usr/share/zoneinfo/UTC")
    yield from (Text(f"etc/{name}", b"") for name in ("hosts", "hostname", "resolv.conf"))


def certificates() -> Iterator[Entry]:
    """The machine's certificate authorities, where it has a bundle of them."""
    for bundle in _HOST_CERTIFICATES:
        if os.path.isfile(bundle):
            yield Copy(CERTIFICATES, bundle)
            return


def _utc() -> bytes:
    """UTC as a time zone file: one local time type, no transition (RFC 8536, section 3)."""
    header = b"TZif2" + bytes(15) + b"".join(count.to_bytes(4, "big") for count in (0, 0, 0, 0, 1, 4))
    block = header + bytes(6) + b"UTC\0"
    return block + block + b"\nUTC0\n"
