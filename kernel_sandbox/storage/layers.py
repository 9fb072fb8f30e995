"""A layer between its archive and its blob: digested and compressed as it is stored, digested as it is read.

Follows image-spec config.md (a diff_id is the digest of the uncompressed archive). What does not belong here: the
archive's entries (``pack``, ``unpack``), where blobs lie (``layout``).
"""

from __future__ import annotations

import hashlib
import io

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.storage.compression import gzip_writer
from kernel_sandbox.storage.layout import Blob, BlobWriter


class LayerWriter(io.RawIOBase):
    """An archive on its way into a blob, compressed with gzip."""

    def __init__(self, blob: BlobWriter) -> None:
        self._blob = blob
        self._hash = hashlib.sha256()
        self._gzip = gzip_writer(blob)
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._hash.update(data)
        self._gzip.write(data)
        self._written += len(data)
        return len(data)

    def commit(self) -> tuple[Blob, str]:
        """Complete the stream and store it; returns the blob, and the archive's diff_id."""
        self._gzip.__exit__(None, None, None)
        return self._blob.commit(), f"sha256:{self._hash.hexdigest()}"


class Tee:
    """An archive that is stored while it is read, as much at a time as there is."""

    def __init__(self, source: io.BufferedReader, layer: LayerWriter) -> None:
        self._source = source
        self._layer = layer

    def read(self, size: int, /) -> bytes:
        data = self._source.read1(size)
        if data:
            self._layer.write(data)
        return data


class Verified:
    """An archive that must have this *diff_id*: at its end reading raises CorruptContent where it has another.

    ``length`` is how many bytes have been read.
    """

    def __init__(self, source: io.BufferedReader, diff_id: str) -> None:
        self.length = 0
        self._source = source
        self._diff_id = diff_id
        self._hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        data = self._source.read1(size)
        if data:
            self.length += len(data)
            self._hash.update(data)
        elif f"sha256:{self._hash.hexdigest()}" != self._diff_id:
            raise CorruptContent(f"a layer is damaged: its content is not {self._diff_id}")
        return data
