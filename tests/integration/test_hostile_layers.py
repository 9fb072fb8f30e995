"""Archives that are made to do harm are refused with one line, nothing is written outside, and the disk is given back.

Names, links and whiteouts of each kind are in ``tests/unit/storage/test_unpack.py``, for every user; layers of
registries in ``test_adversary.py``. Here is what comes by ``import`` and ``load``.
"""

import gzip
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from support import archives
from support.blobs import remote_image
from support.containers import complaint
from support.store import Store, temporary_store
from support.tar_files import Entry, directory, link, tar_of

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.limits import Limits
from kernel_sandbox.storage.ownership import Ownership
from kernel_sandbox.storage.unpack import unpack_layer

pytestmark = pytest.mark.same_for_every_user

GIB, MIB = 1 << 30, 1 << 20
OUT = "../" * 12 + "var/tmp/escaped"

HOSTILE = {
    "a name upwards": [Entry("../escaped")],
    "a name down and up": [Entry("a/../../escaped")],
    "an absolute name": [Entry("/escaped")],
    "a name through a link": [link("out", "/var/tmp"), Entry("out/escaped")],
    "etc is a link out": [link("etc", OUT), Entry("etc/passwd")],
    "a hard link upwards": [Entry("escaped", "hard", "../../../../etc/passwd")],
    "a hard link to the host's": [Entry("escaped", "hard", "/etc/passwd")],
    "a hard link through a link": [link("up", "../../../.."), Entry("escaped", "hard", "up/etc/passwd")],
    "a whiteout of .": [directory("a"), Entry("a/.wh..")],
    "a whiteout of ..": [directory("a"), Entry("a/.wh...")],
    "a whiteout of nothing": [Entry(".wh.")],
    "a name twice": [Entry("twice", content="1"), Entry("twice", content="2")],
    "a link twice": [link("twice", "a"), link("./twice", "b")],
    "a file for a directory": [directory("a"), Entry("a/b"), Entry("a")],
    "the root is a link": [link(".", "/var/tmp")],
}


@pytest.fixture(scope="module")
def store():
    """An empty store; every test leaves it so."""
    with temporary_store() as store:
        store.cli("images", check=True)
        yield store


@pytest.fixture(autouse=True)
def nothing_kept(store: Store):
    """Whatever is refused takes no disk, and is nowhere outside."""
    yield
    places = ("layers", "staging", "oci/blobs/sha256")
    left = [path for place in places for path in (store.home / place).glob("*")]
    assert not left
    assert not os.path.lexists("/var/tmp/escaped") and not os.path.lexists("/escaped")


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_by_import(store, entries):
    complaint(_text(store.cli("import", "-", input=tar_of(entries), text=False)), 1)


def test_hostile_layers_are_refused_by_load(store):
    for what in ("a name upwards", "a name twice"):
        image = remote_image([directory("first")], HOSTILE[what])
        for files in (archives.docker_files(image, "hostile:1"), archives.oci_files(image, "hostile:1")):
            complaint(_text(store.cli("load", input=archives.packed(files), text=False)), 1)


def _text(done: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


COMPRESSIONS = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}


def bomb(path: Path, compress: Callable[[bytes], bytes], size: int = 10 * GIB) -> Path:
    """An archive of one file of *size*, all the same bytes, from pieces that are compressed once."""
    member = tarfile.TarInfo("bomb")
    member.size = size
    piece = compress(b"A" * (64 * MIB))
    with path.open("wb") as file:
        file.write(compress(member.tobuf(tarfile.GNU_FORMAT)))
        for _ in range(size // (64 * MIB)):
            file.write(piece)
        file.write(compress(bytes(10240)))
    return path


UNPACK = """
import sys
from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.compression import open_compressed
from kernel_sandbox.storage.ownership import Ownership
from kernel_sandbox.storage.threads import read_ahead
from kernel_sandbox.storage.unpack import unpack_layer
try:
    with open(sys.argv[1], "rb", 0) as raw, read_ahead(open_compressed(raw)) as archive:
        unpack_layer(archive, sys.argv[2], Ownership.SINGLE)
except CorruptContent:
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_bomb_is_refused_early_and_in_little_memory(store, tmp_path, compression):
    path = bomb(tmp_path / "bomb", COMPRESSIONS[compression])
    assert path.stat().st_size < 12 * MIB
    if compression == "gzip":
        assert "made to fill a disk" in complaint(store.cli("import", path, timeout=60), 1)
    (tmp_path / "root").mkdir()
    unpacked = subprocess.run(
        [sys.executable, "-c", UNPACK, path, tmp_path / "root"], capture_output=True, check=True, timeout=60
    )
    assert int(unpacked.stdout) < 100 << 10  # KiB
    assert (tmp_path / "root/bomb").stat().st_size > 100 * MIB


def test_fewer_entries_than_a_million_are_too_many(tmp_path):
    limits = Limits(entries=2000)
    data = tar_of(Entry(str(number)) for number in range(limits.entries + 1))
    with pytest.raises(CorruptContent, match="more than 2000 entries"):
        unpack_layer(io.BytesIO(data), tmp_path, Ownership.SINGLE, limits)
    assert Limits().entries < 1_000_000
