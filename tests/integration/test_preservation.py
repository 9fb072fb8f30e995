"""What an image holds comes out of it as it went in, whichever road it takes: import, export, commit, save, load."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.store import Store, temporary_store
from support.tar_files import content as file_in

from kernel_sandbox.storage.compression import open_compressed
from kernel_sandbox.storage.tar import END, Entry, Kind, TarReader
from kernel_sandbox.storage.tar_writing import header

CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)
LONG = b"/".join([b"kept/long", *(bytes([65 + n]) * 200 for n in range(20)), b"end" * 16])
assert 4050 < len(LONG) < 4096
DIRECTORY, FILE, SYMLINK, FIFO = Kind.DIRECTORY, Kind.FILE, Kind.SYMLINK, Kind.FIFO

KEPT = (
    Entry(b"kept/", DIRECTORY, mode=0o1777, uid=7, gid=8, mtime=1_500_000_000_123_456_789),
    Entry(b"kept/1970", FILE, mtime=-1_500_000_001),
    Entry(b"kept/-\xff\n\xc3\xa9 ", FILE, mtime=1),
    Entry(b"kept/" + b"n" * 255, FILE),
    Entry(b"kept/attributes", FILE, xattrs=((b"user.a", b"\0=\n\xff"), (b"user.\xc3\xa9", b"")), mode=0o600),
    Entry(b"kept/capable", FILE, mode=0o755, xattrs=((b"security.capability", CAPABILITY),), mtime=10**18 + 1),
    Entry(b"kept/empty/", DIRECTORY, mode=0o700, uid=65534, gid=65534, mtime=10**9),
    Entry(b"kept/fifo", FIFO, mode=0o620, uid=1234, gid=5, mtime=3),
    Entry(b"kept/group/", DIRECTORY, mode=0o2750, gid=42, mtime=5),
    Entry(b"kept/link", SYMLINK, mode=0o777, uid=1234, gid=4321, link=b"na\xff\nme", mtime=1_400_000_000_000_000_007),
    Entry(b"kept/link2", SYMLINK, mode=0o777, link=b"/root/owns/this", mtime=4),
    Entry(b"kept/mine", FILE, mode=0o6711, uid=1000, gid=100, mtime=1_234_567_890_987_654_321),
    Entry(b"kept/node", Kind.CHARACTER, mode=0o660, uid=3, gid=4, major=10, minor=300, mtime=9),
    Entry(b"kept/disk", Kind.BLOCK, mode=0o600, gid=6, major=259, minor=1, mtime=9),
    Entry(b"kept/secret/", DIRECTORY, mode=0, mtime=8),
    Entry(b"kept/secret/file", FILE, mode=0, mtime=8),
    Entry(LONG, FILE, uid=1),
)
LINKED = (
    Entry(b"kept/one", FILE, mode=0o4755, uid=9),
    Entry(b"kept/two", Kind.HARDLINK, mode=0o4755, uid=9, link=b"kept/one"),
)

# Every file that can be is copied up without changing it: by one more name for a moment, and directories by their mode.
COPY_UP = """
cd /kept
for f in ./*; do
    if [ -d "$f" ]; then chmod $(stat -c %a "$f") "$f"; else ln "$f" /moment && rm /moment; fi
done
chmod $(stat -c %a .) .
"""
CHANGE = """
mkdir /made /made/sub; cd /made
touch one && ln one two && ln -s one three && ln three four
mkfifo fifo && ln fifo pipe
truncate -s 9G large; printf end | dd of=large bs=1 seek=9000000000 conv=notrunc 2>/dev/null
truncate -s 20M small; printf begin | dd of=small conv=notrunc 2>/dev/null
long=$(printf %0200d 1); for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do mkdir $long; cd $long; done
touch end
rm /old/gone; rm -r /old/all; mkdir /old/all; touch /old/all/again
"""
OLD = tuple(
    Entry(name, DIRECTORY if name.endswith(b"/") else FILE, mode=0o755)
    for name in (b"old/", b"old/gone", b"old/all/", b"old/all/1", b"old/all/2", b"old/stays")
)


@dataclass(frozen=True)
class Found:
    """An archive's entries by name, and the digests of what their files hold."""

    entries: dict[bytes, Entry]
    digests: dict[bytes, str]

    @classmethod
    def read(cls, source: io.BufferedIOBase) -> "Found":
        reader = TarReader(open_compressed(source))
        entries, digests = {}, {}
        for entry in reader:
            assert entry.name not in entries
            entries[entry.name] = entry
            digest = hashlib.sha256()
            while piece := reader.read(1 << 20):
                digest.update(piece)
            digests[entry.name] = digest.hexdigest()
        return cls(entries, digests)

    def below(self, name: bytes) -> dict[bytes, tuple[Entry, str]]:
        return {key: (entry, self.digests[key]) for key, entry in self.entries.items() if key.startswith(name)}


def exported(store: Store, image: str) -> Found:
    """What ``export`` writes of a container that has not been started."""
    id_ = store.cli("create", image, "/busybox", check=True).stdout.strip()
    return Found.read(io.BytesIO(store.cli("export", id_, text=False, check=True).stdout))


def top_layer(store: Store, image: str) -> Path:
    """The blob of an image's newest layer."""
    saved = store.cli("save", "--format", "oci-archive", image, text=False, check=True).stdout
    blob = json.loads(file_in(saved, "index.json"))["manifests"][0]["digest"]
    manifest = json.loads(file_in(saved, f"blobs/{blob.replace(':', '/')}"))
    return store.home / "oci/blobs" / manifest["layers"][-1]["digest"].replace(":", "/")


def ran(store: Store, image: str, script: str) -> str:
    """What a shell of that image says."""
    busybox = "PATH=/; /busybox --install -s /bin; export PATH=/bin;"
    return store.cli("run", "--rm", image, "/busybox", "sh", "-c", busybox + script, check=True).stdout


@pytest.fixture(scope="module")
def store(shared_store: Store):
    """A store with ``kept:base``, imported, and ``kept:new``, committed."""
    program = shared_store.cli("run", "--rm", "busybox", "cat", "/bin/busybox", text=False, check=True).stdout
    parts = [header(entry) for entry in (*KEPT, *LINKED, *OLD, Entry(b"bin/", DIRECTORY, mode=0o755))]
    parts += [header(Entry(b"busybox", FILE, mode=0o755, size=len(program))), program, bytes(-len(program) % 512), END]
    with temporary_store() as store:
        store.cli("import", "-", "kept:base", input=b"".join(parts), text=False, check=True)
        script = f"/busybox --install -s /bin; export PATH=/bin; set -e; {COPY_UP}{CHANGE}"
        store.cli("run", "--name", "maker", "kept:base", "/busybox", "sh", "-c", script, check=True)
        store.cli("commit", "maker", "kept:new", check=True)
        yield store


@pytest.fixture(scope="module")
def found(store) -> Found:
    return exported(store, "kept:new")


def test_import_and_export_keep_everything(store):
    found = exported(store, "kept:base").entries
    wanted = {entry.name: entry for entry in (*KEPT, *LINKED, *OLD)}
    assert {name: found[name] for name in wanted} == wanted


def test_commit_keeps_everything(store):
    with top_layer(store, "kept:new").open("rb") as blob:
        layer = Found.read(blob).entries
    inside = (b"kept/secret/f", b"kept/long/")  # directories are copied up without what is in them
    wanted = {entry.name: entry for entry in KEPT if not entry.name.startswith(inside)}
    for name in (b"kept/node", b"kept/disk"):
        if name not in layer:  # a real device of an image is nothing that a container could change
            del wanted[name]
    assert {name: layer[name] for name in wanted} == wanted
    assert {name for name in layer if name.startswith(b"old/")} == {
        b"old/", b"old/.wh.gone", b"old/all/", b"old/all/.wh..wh..opq", b"old/all/again"
    }  # fmt: skip
    assert layer[b"made/two"].link == b"made/one" or layer[b"made/one"].link == b"made/two"
    assert layer[b"made/pipe"].link == b"made/fifo" and layer[b"made/three"].link == b"made/four"
    assert layer[b"made/sub/"].kind is DIRECTORY
    assert any(len(name) > 4000 for name in layer)


def test_a_committed_image_is_exported_as_it_was(store, found):
    wanted = {entry.name: entry for entry in (*KEPT, *LINKED)}
    seen = {name: found.entries[name] for name in wanted}
    # A file of several names is copied up by one name alone, as overlayfs has it.
    for entry in LINKED:
        seen.pop(entry.name), wanted.pop(entry.name)
    assert seen == wanted
    assert {name for name in found.entries if name.startswith(b"old/")} == {
        b"old/", b"old/all/", b"old/all/again", b"old/stays"
    }  # fmt: skip


def test_holes_stay_holes(store, found):
    assert top_layer(store, "kept:new").stat().st_size < 1 << 20
    look = "cd /made; stat -c %s large small; du -k large small | cut -f 1; head -c 5 small; echo;"
    look += "dd if=large bs=1 skip=9000000000 count=3 2> /dev/null"
    large, small, used_by_large, used_by_small, begin, end = ran(store, "kept:new", look).split()
    assert (int(large), int(small)) == (9 << 30, 20 << 20)
    assert max(int(used_by_large), int(used_by_small)) <= 2048
    assert (begin, end) == ("begin", "end")


def test_save_and_load_keep_everything(store, found):
    saved = store.cli("save", "kept:new", text=False, check=True).stdout
    with temporary_store() as other:
        other.cli("load", input=saved, text=False, check=True)
        again = exported(other, "kept:new")
    implied = {name for name in found.entries if name.startswith(b"kept/long/") and name.endswith(b"/")}
    for place in (b"kept/", b"made/", b"old/"):
        one, other = found.below(place), again.below(place)
        assert one.keys() == other.keys()
        assert {name for name in one if one[name] != other[name]} <= implied


def test_a_commit_of_an_unchanged_container_adds_documents_alone(store):
    def contents() -> set[Path]:
        return {path for place in ("layers", "oci/blobs/sha256") for path in (store.home / place).iterdir()}

    store.cli("create", "--name", "same", "kept:new", "/busybox", "true", check=True)
    before = contents()
    store.cli("commit", "same", "kept:same", check=True)
    assert {path.parent.name for path in contents() - before} == {"sha256"}
    assert len(contents() - before) == 2  # the configuration and the manifest
