"""A real image of some 300 MB: a Debian root by mmdebstrap, and above it Python packages from the package index."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support.blobs import OCI, descriptor, digest_of
from support.peers import require

SUITE = "bookworm"
PACKAGES = ("numpy", "pandas", "ipython")
TAG = "1"
_PIECE = 1 << 20
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class BigImage:
    """The image as an OCI layout with one tag; ``id`` is the digest of its configuration."""

    layout: Path
    id: str
    size: int

    @property
    def reference(self) -> str:
        """How skopeo names it."""
        return f"oci:{self.layout}:{TAG}"


def big_image(directory: Path) -> BigImage:
    """Make the image in ``directory``, or take the one that is there.

    Raises:
        Unavailable: mmdebstrap is not installed.
        subprocess.CalledProcessError: no Debian mirror or no package index can be reached.
    """
    layout = directory / "oci"
    if not (layout / "index.json").exists():
        require("mmdebstrap")
        directory.mkdir(parents=True, exist_ok=True)
        archives = (_debian(directory / "debian.tar"), _packages(directory / "python.tar"))
        _write_layout(layout, archives)
    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads(_blob(layout, index["manifests"][0]["digest"]).read_bytes())
    return BigImage(layout, manifest["config"]["digest"], int(manifest["annotations"]["size"]))


def _debian(archive: Path) -> Path:
    if not archive.exists():
        half = archive.with_suffix(".half.tar")
        command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3", SUITE, str(half)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        half.rename(archive)
    return archive


def _packages(archive: Path) -> Path:
    if not archive.exists():
        with tempfile.TemporaryDirectory(dir=archive.parent) as root:
            place = Path(root) / "usr/local/lib/python3.11/dist-packages"
            pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")
            subprocess.run([*pip, "--target", str(place), *PACKAGES], check=True)
            owner = ("--sort=name", "--owner=0", "--group=0", "--numeric-owner")
            subprocess.run(["tar", *owner, "-C", root, "-cf", f"{archive}.half", "usr"], check=True)
        Path(f"{archive}.half").rename(archive)
    return archive


def _write_layout(layout: Path, archives: tuple[Path, ...]) -> None:
    """Compress the archives into layers and write the documents; the index comes last."""
    shutil.rmtree(layout, ignore_errors=True)
    (layout / "blobs/sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    packed = [_compressed(layout, archive) for archive in archives]
    config = {
        "os": "linux",
        "architecture": _ARCHITECTURES[os.uname().machine],
        "config": {"Cmd": ["bash"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for diff_id, _ in packed]},
        "history": [{"created_by": archive.stem} for archive in archives],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI["manifest"],
        "config": _put(layout, json.dumps(config).encode(), OCI["config"]),
        "layers": [layer for _, layer in packed],
        "annotations": {"size": str(sum(archive.stat().st_size for archive in archives))},
    }
    named = _put(layout, json.dumps(manifest).encode(), OCI["manifest"])
    named["annotations"] = {"org.opencontainers.image.ref.name": TAG}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))


def _compressed(layout: Path, archive: Path) -> tuple[str, dict[str, Any]]:
    """An archive's diff_id, and the descriptor of the layer made of it."""
    plain, stored = hashlib.sha256(), hashlib.sha256()
    half = layout / "half"
    with archive.open("rb") as source, gzip.GzipFile(half, "wb", 6, mtime=0) as sink:
        while piece := source.read(_PIECE):
            plain.update(piece)
            sink.write(piece)
    with half.open("rb") as written:
        while piece := written.read(_PIECE):
            stored.update(piece)
    size, digest = half.stat().st_size, f"sha256:{stored.hexdigest()}"
    half.rename(_blob(layout, digest))
    return f"sha256:{plain.hexdigest()}", {"mediaType": OCI["layer+gzip"], "digest": digest, "size": size}


def _put(layout: Path, content: bytes, media_type: str) -> dict[str, Any]:
    _blob(layout, digest_of(content)).write_bytes(content)
    return descriptor(content, media_type)


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")
