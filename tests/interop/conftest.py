"""The real tools that interop tests compare with.

One that is missing skips its tests aloud; in CI, where everything is installed, it fails them.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from support import peers
from support.peers import Peer, Unavailable
from support.side_by_side import IMAGE, Pair, rich_rootfs_tar
from support.store import temporary_store
from support.waiting import unavailable

Tool = Callable[..., subprocess.CompletedProcess[str]]


def _entered(engine: AbstractContextManager[Peer]) -> Iterator[Peer]:
    with ExitStack() as stack:
        try:
            peer = stack.enter_context(engine)
        except Unavailable as reason:
            # Not being root is no fault of the machine's: it is never a failure.
            if os.geteuid():
                pytest.skip(str(reason))
            unavailable(str(reason))
        yield peer


@pytest.fixture(scope="session")
def docker() -> Iterator[Peer]:
    """A Docker engine with a busybox image, on its own socket."""
    yield from _entered(peers.docker())


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a root filesystem with every kind of file."""
    return rich_rootfs_tar(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture(scope="session")
def pair(docker: Peer, rootfs: Path) -> Iterator[Pair]:
    """Docker and a store of ours, each with the image ``pair`` from one archive. A test leaves no container there."""
    docker.cli("import", rootfs, IMAGE, check=True)
    with temporary_store() as store:
        store.cli("import", rootfs, IMAGE, check=True)
        yield Pair(docker, store)
    docker.cli("rmi", "-f", IMAGE)


@pytest.fixture(scope="session")
def podman() -> Iterator[Peer]:
    """podman with a busybox image, in its own storage."""
    yield from _entered(peers.podman())


@pytest.fixture(scope="session")
def crun() -> Iterator[Peer]:
    """crun and a busybox bundle: see ``Runtime``."""
    yield from _entered(peers.runtime("crun"))


@pytest.fixture(scope="session")
def runc() -> Iterator[Peer]:
    """runc and a busybox bundle: see ``Runtime``."""
    yield from _entered(peers.runtime("runc"))


def _tool(program: str) -> Tool:
    try:
        peers.require(program)
    except Unavailable as reason:
        unavailable(str(reason))
    return Peer(program, (program,)).cli


@pytest.fixture(scope="session")
def skopeo() -> Tool:
    """``skopeo("copy", "oci:DIR", "docker-archive:FILE", check=True)``."""
    return _tool("skopeo")


@pytest.fixture(scope="session")
def umoci() -> Tool:
    """``umoci("unpack", "--image", "DIR:TAG", "BUNDLE", check=True)``."""
    return _tool("umoci")
