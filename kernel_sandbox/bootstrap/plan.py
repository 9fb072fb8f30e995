"""What goes into the embedded images: the plan, made without writing anything.

Each kind of content is gathered in its own module; here they are put together, with what the image says of itself.
"""

import sys
from posixpath import basename, dirname

from kernel_sandbox.bootstrap import busybox, interpreter, libraries, packages, tools
from kernel_sandbox.bootstrap.rootfs import Copy, Entry, Rootfs, Text, assemble
from kernel_sandbox.bootstrap.skeleton import CERTIFICATES, PATH, certificates, skeleton

BUSYBOX_REFERENCE = "busybox:latest"


def python_reference() -> str:
    """The name of the image that `plan_python` plans."""
    return f"localhost/python:{sys.version_info.major}.{sys.version_info.minor}"


def plan_python() -> Rootfs:
    """The root filesystem of the running interpreter, with ipykernel, pip, a shell and tools.

    Raises HostError if this machine lacks a part of it.
    """
    python = interpreter.running()
    installed = (*packages.closure("ipykernel"), *packages.optional("pip"))
    content: list[Entry] = [*interpreter.entries(python), *certificates(), *tools.entries()]
    for package in installed:
        content += packages.entries(package, python)
    programs = [entry for entry in content if isinstance(entry, Copy) and _is_loaded(entry.path)]
    anchor = next(program for program in programs if program.path == python.program)
    trust = (f"SSL_CERT_FILE=/{CERTIFICATES}",) if any(entry.path == CERTIFICATES for entry in content) else ()
    return Rootfs(
        reference=python_reference(),
        entries=assemble(skeleton(), libraries.closure(programs, anchor), content),
        env=(f"PATH={PATH}", "LANG=C.UTF-8", f"PYTHON_VERSION={python.release}", *trust),
        cmd=("python3",),
        working_dir="/root",
        labels=(
            ("org.opencontainers.image.title", "python"),
            ("org.opencontainers.image.version", python.release),
        ),
    )


def _is_loaded(path: str) -> bool:
    """Whether the file may be a program or a library, by its name: opening thousands of modules to see takes long."""
    return basename(dirname(path)) == "bin" or ".so" in basename(path)


def plan_busybox(binary: bytes) -> Rootfs:
    """The root filesystem of a static busybox and its applets. Raises CorruptContent if it is none."""
    names = busybox.applets(binary)
    return Rootfs(
        reference=BUSYBOX_REFERENCE,
        entries=assemble(skeleton(), (Text("usr/bin/busybox", binary, 0o755),), tools.links(names)),
        env=(f"PATH={PATH}",),
        cmd=("sh",),
        labels=(("org.opencontainers.image.title", "busybox"),),
    )
