"""Content-addressed blobs in an OCI image layout (image-spec image-layout.md).

Here: blobs in and out, verified each way, and the two files that make a directory a layout.
Not here: which blobs are needed, what they mean, unpacked layers.

A blob appears under its final name complete and verified, on the disk too, or not at all. Names and content of a layout
from elsewhere are hostile: digests are safe file names, blobs are opened as regular files only, sizes are bounded.
"""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from kernel_sandbox.errors import CorruptContent, NotFound
from kernel_sandbox.spec.digest import HEX_LENGTH, Digest
from kernel_sandbox.spec.image import MAX_DOCUMENT, OCI_INDEX, Descriptor, Index, LayoutHeader, encode
from kernel_sandbox.storage.staging import Staging, store_errors, sync_directory, write_durably

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_HEADER_FILE = "oci-layout"
_INDEX_FILE = "index.json"
HEADER = LayoutHeader(image_layout_version="1.0.0")
_BUFFER = 1 << 20


class Blob(msgspec.Struct, frozen=True):
    """Stored content: its digest and its size in bytes."""

    digest: Digest
    size: int


class ImageLayout:
    """The image layout in ``directory``; many processes may use it at once.

    Every method raises StoreError when the disk refuses.
    """

    def __init__(self, directory: str | os.PathLike[str], staging: Staging):
        self.path = os.fspath(directory)
        self._staging = staging

    def ensure(self) -> None:
        """Makes the directory a layout where it is not one yet, with an empty index."""
        with store_errors(self.path):
            os.makedirs(os.path.join(self.path, "blobs", "sha256"), mode=0o755, exist_ok=True)
            self._write_new(_INDEX_FILE, encode(_index(())))
            self._write_new(_HEADER_FILE, encode(HEADER))

    def blob_path(self, digest: Digest) -> str:
        """Where the blob is, or would be."""
        return _blob_path(self.path, digest)

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here; its content is verified when it is read."""
        return os.path.isfile(self.blob_path(digest))

    def size(self, digest: Digest) -> int:
        """The blob's bytes. Raises NotFound."""
        path = self.blob_path(digest)
        with store_errors(path):
            try:
                return os.stat(path).st_size
            except FileNotFoundError:
                raise _no_blob(digest) from None

    def digests(self) -> tuple[Digest, ...]:
        """Every blob, sorted."""
        with store_errors(self.path):
            return tuple(sorted(digest for algorithm in HEX_LENGTH for digest in self._list(algorithm)))

    def put(self, data: bytes) -> Digest:
        """Stores ``data``."""
        with self.writer() as writer:
            writer.write(data)
            return writer.commit().digest

    @contextlib.contextmanager
    def writer(self, algorithm: str = "sha256", limit: int | None = None) -> Iterator["BlobWriter"]:
        """A blob to be written; forgotten at the end unless it was committed. ``limit`` is its most bytes."""
        with self._staging.file() as path:
            with store_errors(path):
                file = open(path, "r+b", buffering=_BUFFER)  # noqa: SIM115 (closed below, however that goes)
            try:
                yield BlobWriter(self.path, path, file, algorithm, limit)
            finally:
                with contextlib.suppress(OSError):
                    file.close()

    def open(self, digest: Digest) -> BinaryIO:
        """The blob as a stream that cannot seek; reading to its end raises CorruptContent if it is not ``digest``.

        What was read is to be trusted only once a read has returned nothing. Raises NotFound.
        """
        return io.BufferedReader(_VerifiedReader(self._open_raw(digest), digest), _BUFFER)

    def read(self, digest: Digest, limit: int = MAX_DOCUMENT) -> bytes:
        """The whole blob; raises NotFound, and CorruptContent if it exceeds ``limit`` or is not ``digest``."""
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise CorruptContent(f"{digest} is larger than {limit} bytes")
        return data

    def remove(self, digest: Digest) -> None:
        """Removes the blob if it is here."""
        path = self.blob_path(digest)
        with store_errors(path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def sync(self) -> None:
        """Makes the names of all blobs survive a crash of the machine: to be called before something counts on them."""
        for algorithm in HEX_LENGTH:
            with store_errors(self.path), contextlib.suppress(FileNotFoundError):
                sync_directory(os.path.join(self.path, "blobs", algorithm))

    def write_index(self, manifests: Sequence[Descriptor]) -> None:
        """Makes ``manifests`` all that the layout names, each by its annotation ``REF_NAME``.

        After a crash of the machine the index is the old one or the new one. Callers that change what they read hold
        a lock of their own.
        """
        with self._staging.file() as path, store_errors(path):
            write_durably(path, encode(_index(manifests)), 0o644)
            os.rename(path, os.path.join(self.path, _INDEX_FILE))

    def _write_new(self, name: str, data: bytes) -> None:
        target = os.path.join(self.path, name)
        if os.path.lexists(target):
            return
        with self._staging.file() as path:
            write_durably(path, data, 0o644)
            with contextlib.suppress(FileExistsError):
                os.link(path, target)
        sync_directory(self.path)

    def _open_raw(self, digest: Digest) -> io.FileIO:
        path = self.blob_path(digest)
        with store_errors(path):
            try:
                return _open_regular(path)
            except FileNotFoundError:
                raise _no_blob(digest) from None

    def _list(self, algorithm: str) -> Iterator[Digest]:
        try:
            names = os.listdir(os.path.join(self.path, "blobs", algorithm))
        except FileNotFoundError:
            return
        for name in names:
            with contextlib.suppress(CorruptContent):
                yield Digest.parse(f"{algorithm}:{name}")


class BlobWriter:
    """Writes one blob, hashing on the way; made by ``ImageLayout.writer``."""

    def __init__(self, layout: str, path: str, file: BinaryIO, algorithm: str, limit: int | None):
        self._layout = layout
        self._path = path
        self._file = file
        self._algorithm = algorithm
        import hashlib

        self._hash = hashlib.new(algorithm)
        self._limit = limit
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Appends ``data``; raises CorruptContent beyond the limit."""
        self.size += len(data)
        if self._limit is not None and self.size > self._limit:
            raise CorruptContent(f"content is larger than {self._limit} bytes")
        self._hash.update(data)
        with store_errors(self._path):
            return self._file.write(data)

    def commit(self, expected: Digest | None = None, size: int | None = None) -> Blob:
        """Makes what was written a blob; a blob with this digest is replaced by its equal.

        Raises CorruptContent, and keeps nothing, when the digest or the size is not the expected one.
        """
        digest = Digest.parse(f"{self._algorithm}:{self._hash.hexdigest()}")
        if size is not None and self.size != size:
            raise CorruptContent(f"content has {self.size} bytes, expected {size}")
        if expected is not None and digest != expected:
            raise CorruptContent(f"content has the digest {digest}, expected {expected}")
        self._publish(_blob_path(self._layout, digest))
        return Blob(digest, self.size)

    def _publish(self, target: str) -> None:
        with store_errors(target):
            self._file.flush()
            os.fchmod(self._file.fileno(), 0o644)
            os.fsync(self._file.fileno())
            os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
            os.rename(self._path, target)


class _VerifiedReader(io.RawIOBase):
    """Passes a file through and compares its digest at the end."""

    def __init__(self, file: io.FileIO, expected: Digest):
        self._file = file
        self._expected = expected
        import hashlib

        self._hash = hashlib.new(expected.algorithm)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        with store_errors(self._expected):
            count = self._file.readinto(buffer)
        if count:
            self._hash.update(memoryview(buffer)[:count])
        elif self._hash.hexdigest() != self._expected.hex:
            raise CorruptContent(f"{self._expected} is damaged in the store: its content has another digest")
        return count or 0

    def close(self) -> None:
        self._file.close()
        super().close()


def blob_name(digest: Digest) -> str:
    """The path of a blob in every image layout."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _blob_path(layout: str, digest: Digest) -> str:
    return os.path.join(layout, blob_name(digest))


def _no_blob(digest: Digest) -> NotFound:
    return NotFound(f"no such blob: {digest}")


def _index(manifests: Sequence[Descriptor]) -> Index:
    return Index(schema_version=2, media_type=OCI_INDEX, manifests=tuple(manifests))


def _open_regular(path: str) -> io.FileIO:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return io.FileIO(fd)
