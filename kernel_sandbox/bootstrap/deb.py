"""One file out of a Debian package, without unpacking or installing it.

Follows deb(5) and ar(5). The package is hostile: nothing of it is written to disk, and sizes are capped.
"""

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Collection

import zstandard

from kernel_sandbox.errors import CorruptContent

_MAGIC = b"!<arch>\n"
_HEADER = 60
_MAX_DATA = 256 << 20


def member(package: bytes, names: Collection[str], limit: int) -> bytes:
    """The content of the first regular file of the package's data that has one of ``names`` (no leading slash).

    ``limit`` caps its size in bytes. Raises CorruptContent if there is none, or the package is damaged.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(_data(package)), mode="r:") as archive:
            for info in archive:
                if info.isreg() and info.name.removeprefix("./") in names:
                    return _content(archive, info, limit)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, zstandard.ZstdError, OSError, EOFError) as error:
        raise CorruptContent(f"the Debian package is damaged: {error}") from error
    raise CorruptContent(f"the Debian package has no file {' or '.join(names)}")


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo, limit: int) -> bytes:
    if info.size > limit:
        raise CorruptContent(f"{info.name} in the Debian package has {info.size} bytes: more than {limit} is refused")
    file = archive.extractfile(info)
    content = file.read() if file else b""
    if len(content) != info.size:
        raise CorruptContent(f"{info.name} in the Debian package is cut short")
    return content


def _data(package: bytes) -> bytes:
    """The package's data.tar, decompressed."""
    if not package.startswith(_MAGIC):
        raise CorruptContent("not a Debian package: its first bytes are wrong")
    offset = len(_MAGIC)
    while offset + _HEADER <= len(package):
        header = package[offset : offset + _HEADER]
        name, size = header[:16].decode("latin-1").rstrip(" /"), header[48:58].strip()
        if not size.isdigit():
            raise CorruptContent("the Debian package is damaged: a member has no size")
        start = offset + _HEADER
        if name.startswith("data.tar"):
            return _decompressed(name, package[start : start + int(size)])
        offset = start + int(size) + int(size) % 2
    raise CorruptContent("the Debian package has no data.tar")


def _decompressed(name: str, content: bytes) -> bytes:
    data = _head(name.removeprefix("data.tar"), content)
    if len(data) > _MAX_DATA:
        raise CorruptContent(f"{name} in the Debian package has more than {_MAX_DATA} bytes")
    return data


def _head(suffix: str, content: bytes) -> bytes:
    """What ``content`` decompresses to, as far as it shows whether it is too long."""
    size = _MAX_DATA + 1
    match suffix:
        case "":
            return content[:size]
        case ".gz":
            return gzip.open(io.BytesIO(content)).read(size)
        case ".xz":
            return lzma.open(io.BytesIO(content)).read(size)
        case ".zst":
            return zstandard.ZstdDecompressor().stream_reader(content).read(size)
    raise CorruptContent(f"the Debian package is compressed in an unknown way: {suffix}")
