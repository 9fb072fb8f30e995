"""The documents of the OCI runtime specification, as far as this engine writes them.

``Spec`` is a bundle's ``config.json``: the only thing that tells the runtime what to start, and what crun or
runc would read. Field names follow config.md and config-linux.md; absent means absent in the JSON too.
"""

from __future__ import annotations

import msgspec

from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.idmap import IdMapping
from kernel_sandbox.spec.seccomp import LinuxSeccomp

VERSION = "1.1.0"


class Document(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A part of config.json: camel-case names, default values left out."""


class User(Document, frozen=True):
    """config.md, User: numeric ids inside the container."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...] = ()


class Capabilities(Document, frozen=True):
    """config.md, Linux Process: the capability sets, as CAP_* names."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(Document, frozen=True):
    """config.md, POSIX process: a limit of setrlimit(2), ``type`` as RLIMIT_NOFILE."""

    type: str
    hard: int
    soft: int


class ConsoleSize(Document, frozen=True):
    """config.md, Process: the terminal's size in characters."""

    height: int
    width: int


class Process(Document, frozen=True):
    """config.md, Process."""

    user: User
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    capabilities: Capabilities
    terminal: bool = False
    console_size: ConsoleSize | None = None
    no_new_privileges: bool = False
    rlimits: tuple[Rlimit, ...] = ()
    oom_score_adj: int | None = None


class Root(Document, frozen=True):
    """config.md, Root: relative to the bundle."""

    path: str
    readonly: bool = False


class Mount(Document, frozen=True):
    """config.md, Mounts: in the order in which they are made."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()


class Namespace(Document, frozen=True):
    """config-linux.md, Namespaces: ``type`` is pid, network, mount, ipc, uts, user or cgroup."""

    type: str
    path: str = ""


class Memory(Document, frozen=True):
    """config-linux.md, Memory: bytes; ``swap`` is memory and swap together, -1 for no limit."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None


class Cpu(Document, frozen=True):
    """config-linux.md, CPU: ``quota`` microseconds of processor time in each ``period``; lists as ``0-2,4``."""

    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    cpus: str = ""
    mems: str = ""


class BlockIO(Document, frozen=True):
    """config-linux.md, Block IO: the share among containers, 10 to 1000."""

    weight: int


class Pids(Document, frozen=True):
    """config-linux.md, PIDs."""

    limit: int


class Resources(Document, frozen=True):
    """config-linux.md, Control groups: the limits asked for; None where none was."""

    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = msgspec.field(default=None, name="blockIO")

    def __bool__(self) -> bool:
        return any(each is not None for each in msgspec.structs.astuple(self))


class Linux(Document, frozen=True):
    """config-linux.md."""

    namespaces: tuple[Namespace, ...]
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    cgroups_path: str = ""
    resources: Resources | None = None
    seccomp: LinuxSeccomp | None = None
    sysctl: dict[str, str] = {}
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()

    def unshares(self, namespace: str) -> bool:
        """Whether the container gets a new namespace of this type."""
        return any(each.type == namespace and not each.path for each in self.namespaces)


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """A bundle's config.json."""

    oci_version: str
    process: Process
    root: Root
    hostname: str
    mounts: tuple[Mount, ...]
    linux: Linux
    domainname: str = ""
    annotations: dict[str, str] = {}


def encode(spec: Spec) -> bytes:
    """The document as it is written to ``config.json``."""
    return msgspec.json.format(msgspec.json.encode(spec), indent=1)


def decode(document: bytes) -> Spec:
    """Read back what ``encode`` wrote."""
    return msgspec.json.decode(document, type=decodable(Spec))
