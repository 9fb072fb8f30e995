"""What a container mounts of the host's disk: its own directories, its files below /etc, its volumes.

The same for a start (``preparation``) and for a look at its files (``copy_jobs``).
"""

from __future__ import annotations

import os

from kernel_sandbox.engine import writable
from kernel_sandbox.engine.paths import ContainerPaths, Paths
from kernel_sandbox.engine.removal import remove_tree
from kernel_sandbox.spec.options import Bind, ContainerOptions

_ENVIRONMENT = ("resolv.conf", "hostname", "hosts")


def make_directories(files: ContainerPaths, options: ContainerOptions) -> None:
    """Made at the first start; overlayfs wants its work directory fresh at each."""
    os.makedirs(files.home, mode=0o700, exist_ok=True)
    writable.ensure(files, options.storage_size)
    os.makedirs(files.upper, exist_ok=True)
    for directory in (files.writable, files.upper):
        os.chmod(directory, 0o755)
    if os.path.isdir(files.work):
        remove_tree(files.work)
    os.mkdir(files.work, 0o700)


def environment(files: ContainerPaths) -> tuple[Bind, ...]:
    """The container's own resolv.conf, hostname and hosts, seen in its /etc."""
    return tuple(Bind(files.environment_file(name), f"/etc/{name}") for name in _ENVIRONMENT)


def volumes(paths: Paths, options: ContainerOptions) -> tuple[Bind, ...]:
    """The volumes as what they are: directories of the host's."""
    return tuple(Bind(paths.volume(each.name).data, each.target, each.readonly) for each in options.volumes)
