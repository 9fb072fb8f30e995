"""The members of an archive that holds images: its documents in memory, its layers as blobs of the layout.

An archive is read in one pass, from a stream that cannot seek, before anything in it says which member is what. So a
member is told by its content: what is small and no tar archive may be a document; anything else may be a layer and
goes into the layout at once, compressed on the way where it is not. What nobody turns out to need is garbage there.

Names are hostile: they are keys of a table, and no file is ever made by one. Counts and sizes are capped.
What does not belong here: what the documents say.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
from contextlib import suppress
from typing import BinaryIO, cast

import msgspec

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import MAX_BLOB, MAX_DOCUMENT, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor
from kernel_sandbox.storage.compression import open_compressed
from kernel_sandbox.storage.layers import LayerWriter
from kernel_sandbox.storage.layout import Blob, ImageLayout, blob_name
from kernel_sandbox.storage.tar import BLOCK, CHUNK, Entry, Kind, Source, TarReader, read_rest, shown
from kernel_sandbox.storage.threads import WriteBehind

MAX_MEMBERS = 1 << 16
MAX_DOCUMENTS = 32 << 20
"""Bytes of all the documents of an archive together."""
MAX_READINGS = 4 * MAX_DOCUMENTS
"""The same, where each counts as often as it is read."""
_MAX_NAME = 512  # longer ones mean nothing to anybody
_MAX_LINKS = 8
_OPAQUE = "application/octet-stream"
_MAGICS = {b"\x1f\x8b\x08": OCI_LAYER_GZIP, b"\x28\xb5\x2f\xfd": OCI_LAYER_ZSTD}
_LAYERS = "sha256"  # what identifies layers
_USTAR = slice(257, 262)


class Piece(msgspec.Struct, frozen=True):
    """A member that is stored as *blob*; ``content`` is the digest that it came with."""

    content: Digest
    blob: Blob
    media_type: str

    @property
    def was_plain(self) -> bool:
        """Whether it has been compressed on the way."""
        return self.content != self.blob.digest


class ArchiveMembers:
    """The members of one tar archive. ``layout`` is where layers are stored."""

    def __init__(self, layout: ImageLayout) -> None:
        self.layout = layout
        self._documents: dict[str, bytes] = {}
        self._pieces: dict[str, Piece] = {}
        self._links: dict[str, str] = {}
        self._room = MAX_DOCUMENTS
        self._readings = MAX_READINGS

    def read(self, archive: Source) -> None:
        """Take all members in, and read the stream to its end.

        Raises CorruptContent where it is no such archive, and StoreError when the disk is full.
        """
        reader = TarReader(archive)
        for count, entry in enumerate(reader):
            if count >= MAX_MEMBERS:
                raise CorruptContent(f"the archive has more than {MAX_MEMBERS} members: no image has so many")
            self._take(entry, reader)
        read_rest(archive)  # a pipe is to be read to its end, and a compressed stream tells there whether it is whole

    def _take(self, entry: Entry, reader: TarReader) -> None:
        name = _inside(entry.name)
        if len(name) > _MAX_NAME:
            return
        self._forget(name)
        if entry.kind is Kind.SYMLINK:
            self._links[name] = _normal(f"/{posixpath.dirname(name)}/{_text(entry.link)}")
        elif entry.kind is Kind.HARDLINK:
            self._links[name] = _normal(f"/{_text(entry.link)}")
        elif entry.kind is Kind.FILE and entry.segments is None:
            self._take_file(name, entry.size, reader)

    def _forget(self, name: str) -> None:
        """A name given twice means its last member."""
        self._room += len(self._documents.pop(name, b""))
        self._pieces.pop(name, None)
        self._links.pop(name, None)

    def _take_file(self, name: str, size: int, reader: TarReader) -> None:
        start = _exactly(reader, min(size, BLOCK))
        expected = _digest_in(name)
        if size <= MAX_DOCUMENT and _media_type(start) == _OPAQUE and not _is_tar(start):
            self._documents[name] = self._document(start, size, reader)
            found = digest_of(self._documents[name], expected) if expected else None
        elif expected and self.layout.has(expected):
            self._pieces[name] = _known(self.layout, expected)
            return
        else:
            self._pieces[name] = store(self.layout, start, reader, expected)
            found = self._pieces[name].content
        if expected and found != expected:
            raise CorruptContent(f"the archive is damaged: the content of {_told(name)} has another digest")

    def _document(self, start: bytes, size: int, reader: TarReader) -> bytes:
        self._room -= size
        if self._room < 0:
            raise CorruptContent(
                f"the archive has more than {MAX_DOCUMENTS} bytes of documents: no images need so many"
            )
        return start + _exactly(reader, size - len(start))

    def _resolved(self, name: str) -> str:
        name = _normal(name)
        for _ in range(_MAX_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        return name

    def has(self, name: str) -> bool:
        """Whether there is such a member, perhaps as a link to another."""
        found = self._resolved(name)
        return found in self._documents or found in self._pieces

    def document(self, name: str) -> bytes:
        """A member that is a document. Raises CorruptContent where there is none."""
        found = self._resolved(name)
        if found in self._pieces:
            raise CorruptContent(f"the archive's {_told(name)} is too large, or no document")
        if found not in self._documents:
            raise missing(name)
        self._readings -= len(self._documents[found])
        if self._readings < 0:
            raise CorruptContent("the archive's images have the same documents, again and again")
        return self._documents[found]

    def layer(self, name: str) -> Piece:
        """A member that is a layer: stored, and compressed by gzip or zstd. Raises CorruptContent."""
        found = self._resolved(name)
        if found in self._documents:
            self._pieces[found] = _recompressed(self.layout, io.BytesIO(self._documents[found]))
        if found not in self._pieces:
            raise missing(name)
        piece = self._pieces[found]
        if piece.media_type == _OPAQUE:
            with self.layout.open(piece.blob.digest) as blob:
                self._pieces[found] = piece = _recompressed(self.layout, blob)
        return piece

    def blob(self, described: Descriptor) -> None:
        """Have the layout hold a blob of the archive's own layout, byte for byte. Raises CorruptContent."""
        name, digest = blob_name(described.digest), described.digest
        if self.layout.has(digest):
            return
        found = self._resolved(name)
        if found in self._documents:
            put(self.layout, self._documents[found], digest)
        elif found in self._pieces:
            with self.layout.open(self._pieces[found].blob.digest) as compressed:
                copy(self.layout, open_compressed(compressed, is_trusted=True), digest)
        else:
            raise missing(name)


def put(layout: ImageLayout, data: bytes, digest: Digest) -> None:
    """Store a document. Raises CorruptContent unless it has this digest."""
    copy(layout, io.BytesIO(data), digest)


def copy(layout: ImageLayout, source: Source, digest: Digest) -> None:
    """Store what is read to its end. Raises CorruptContent unless it has this digest."""
    with layout.writer(digest.algorithm, MAX_BLOB) as writer:
        while data := source.read(CHUNK):
            writer.write(data)
        writer.commit(digest)


def digest_of(data: bytes, like: Digest) -> Digest:
    """The digest of *data*, by the algorithm of another digest."""
    return Digest(f"{like.algorithm}:{hashlib.new(like.algorithm, data).hexdigest()}")


def store(layout: ImageLayout, start: bytes, rest: Source, expected: Digest | None) -> Piece:
    """Store a layer: as it is where gzip or zstd compressed it, else compressed on the way.

    What is *expected* to have a digest and is no tar archive is stored as it is, too: nobody knows what it is.
    """
    algorithm = expected.algorithm if expected else _LAYERS
    media_type = _media_type(start)
    source = _Joined(start, rest)
    if media_type == _OPAQUE and (expected is None or (algorithm == _LAYERS and _is_tar(start))):
        return _recompressed(layout, source)
    with layout.writer(algorithm, MAX_BLOB) as writer:
        while data := source.read(CHUNK):
            writer.write(data)
        blob = writer.commit()
    return Piece(blob.digest, blob, media_type)


def _recompressed(layout: ImageLayout, source: Source) -> Piece:
    """Store what is plain, or compressed in a way that no layer may be, as gzip."""
    plain = open_compressed(cast(BinaryIO, source))
    left = MAX_BLOB
    with layout.writer() as writer:
        layer = LayerWriter(writer)
        with WriteBehind(layer) as behind:
            while data := plain.read(CHUNK):
                left -= len(data)
                if left < 0:
                    raise CorruptContent(f"a layer is larger than {MAX_BLOB} bytes")
                behind.write(data)
        blob, diff_id = layer.commit()
    return Piece(Digest(diff_id), blob, OCI_LAYER_GZIP)


def _known(layout: ImageLayout, digest: Digest) -> Piece:
    """A blob that is in the layout already, whose content need not be taken from the archive."""
    with layout.open(digest) as blob:
        media_type = _media_type(blob.read(BLOCK))
    return Piece(digest, Blob(digest, layout.size(digest)), media_type)


class _Joined:
    """What has been read of a member, and the rest of it."""

    def __init__(self, start: bytes, rest: Source) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        start, self._start = self._start[:size], self._start[size:]
        return start or self._rest.read(size)


def _exactly(reader: TarReader, size: int) -> bytes:
    parts = []
    while size and (data := reader.read(min(size, CHUNK))):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _media_type(start: bytes) -> str:
    return next((media_type for magic, media_type in _MAGICS.items() if start.startswith(magic)), _OPAQUE)


def _is_tar(start: bytes) -> bool:
    """Whether a tar archive of some layer starts so; one without members is all zeros."""
    return len(start) == BLOCK and (start[_USTAR] == b"ustar" or not start.strip(b"\0"))


def _digest_in(name: str) -> Digest | None:
    """The digest that a blob of an image layout is named by; none for what else may lie there."""
    match name.split("/"):
        case ["blobs", algorithm, encoded]:
            with suppress(CorruptContent):
                return Digest(f"{algorithm}:{encoded}")
    return None


def _inside(name: bytes) -> str:
    path = posixpath.normpath(_text(name).lstrip("/"))
    if path == ".." or path.startswith("../"):
        raise CorruptContent(f"the archive's member {shown(name)} leads out of it")
    return path


def _normal(name: str) -> str:
    return posixpath.normpath(f"/{name.lstrip('/')}").lstrip("/")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _told(name: str) -> str:
    return shown(name.encode("utf-8", "surrogateescape"))


def missized(described: Descriptor, size: int) -> CorruptContent:
    """The complaint about content of another size than its descriptor says."""
    return CorruptContent(f"{described.digest} has {size} bytes: its manifest says {described.size}")


def missing(name: str) -> CorruptContent:
    """The complaint about a member that a document names and that is not there."""
    return CorruptContent(f"the archive is incomplete: it has no {_told(name)}")
