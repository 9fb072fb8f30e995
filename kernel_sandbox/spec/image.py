"""The documents of an image: descriptor, manifest, index, configuration.

Here: their shapes (image-spec descriptor.md, manifest.md, image-index.md, config.md, image-layout.md; those of
Docker's image manifest v2 schema 2 are the same under other media types), and bytes to values and back.
Not here: where they are stored, and what a container makes of them. A foreign document is kept as the bytes
it came in: only documents of our own making are encoded.

An absent field, a null and the empty value mean the same (config.md) and are read as the empty value; fields
that the specification requires have no default.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from kernel_sandbox.errors import CorruptContent, HostError
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.digest import Digest, chain_ids

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_MANIFEST_LIST)
CONFIG_TYPES = (OCI_CONFIG, DOCKER_CONFIG)

REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation that names a manifest inside an image layout (annotations.md)."""

MAX_DOCUMENT = 4 << 20
"""Bytes of the largest document that is read; registries refuse larger manifests too."""
MAX_LAYERS = 127
MAX_BLOB = 64 << 30
"""Bytes of the largest layer that is taken in."""
_MAX_OBJECTS = 100_000

_RFC3339 = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})\Z"
Time = Annotated[str, msgspec.Meta(pattern=_RFC3339)]
"""An RFC 3339 date and time."""


class Document(msgspec.Struct, frozen=True, omit_defaults=True):
    """A JSON object of the image specification."""


class Empty(Document, frozen=True):
    """The empty object: a value in the JSON form of a set of strings."""


class Platform(Document, frozen=True, kw_only=True):
    """What an image runs on, in Go's names (image-index.md)."""

    architecture: str
    os: str
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: tuple[str, ...] = msgspec.field(default=(), name="os.features")
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(Document, frozen=True, kw_only=True, rename="camel"):
    """Names content by type, digest and size in bytes (descriptor.md)."""

    media_type: str
    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = {}
    platform: Platform | None = None
    artifact_type: str = ""


class Manifest(Document, frozen=True, kw_only=True, rename="camel"):
    """One image for one platform: its configuration and its layers, bottom first (manifest.md)."""

    schema_version: Literal[2]
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], msgspec.Meta(max_length=MAX_LAYERS)]
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        _check_media_type(self.media_type, MANIFEST_TYPES)


class Index(Document, frozen=True, kw_only=True, rename="camel"):
    """Manifests to choose from, by platform or by name (image-index.md)."""

    schema_version: Literal[2]
    media_type: str = ""
    artifact_type: str = ""
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        _check_media_type(self.media_type, INDEX_TYPES)


class LayoutHeader(Document, frozen=True, kw_only=True, rename="camel"):
    """The file ``oci-layout`` (image-layout.md)."""

    image_layout_version: str


Duration = Annotated[int, msgspec.Meta(extra={"unit": "ns"})]
"""A length of time in nanoseconds, to templates Go's time.Duration."""


class Healthcheck(Document, frozen=True, kw_only=True, rename="pascal"):
    """Docker's health check: how to tell a container works; times 0 for the default."""

    test: tuple[str, ...] = ()
    interval: Duration = 0
    timeout: Duration = 0
    start_period: Duration = 0
    start_interval: Duration = 0
    retries: int = 0


class ContainerConfig(Document, frozen=True, kw_only=True, rename="pascal"):
    """The defaults of a container made from an image (config.md ``config``), with Docker's additions."""

    user: str = ""
    exposed_ports: Mapping[str, Empty] = {}
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: Mapping[str, Empty] = {}
    working_dir: str = ""
    labels: Mapping[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int | None = None
    args_escaped: bool = False
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()


class RootFS(Document, frozen=True, kw_only=True):
    """The layers of an image by the digests of their uncompressed archives, bottom first."""

    type: Literal["layers"]
    diff_ids: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=MAX_LAYERS)]


class History(Document, frozen=True, kw_only=True):
    """How a layer, or a change of configuration alone (``empty_layer``), came about."""

    created: Time = ""
    author: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Document, frozen=True, kw_only=True):
    """An image: the digest of this document is the image's id (config.md)."""

    created: Time = ""
    author: str = ""
    architecture: str
    os: str
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: tuple[str, ...] = msgspec.field(default=(), name="os.features")
    variant: str = ""
    config: ContainerConfig = ContainerConfig()
    rootfs: RootFS
    history: tuple[History, ...] = ()

    @property
    def platform(self) -> Platform:
        return Platform(
            architecture=self.architecture,
            os=self.os,
            os_version=self.os_version,
            os_features=self.os_features,
            variant=self.variant,
        )


class Layer(msgspec.Struct, frozen=True):
    """A layer in its place: what names its blob, the digest of its archive, and that of the chain which it ends."""

    blob: Descriptor
    diff_id: Digest
    chain_id: Digest


D = TypeVar("D", bound=Document)


def decode(cls: type[D], data: bytes) -> D:
    """The document that ``data`` holds; fields that nobody here knows are passed over.

    Raises CorruptContent when it is too large, is not JSON, has another shape, or could be read as both a
    manifest and an index (CVE-2021-41190).
    """
    what = cls.__name__
    if len(data) > MAX_DOCUMENT:
        raise CorruptContent(f"invalid {what}: {len(data)} bytes, more than {MAX_DOCUMENT}")
    if data.count(b"{") + data.count(b"[") > _MAX_OBJECTS:
        raise CorruptContent(f"invalid {what}: more than {_MAX_OBJECTS} objects, which would fill the memory")
    try:
        raw = _without_nulls(msgspec.json.decode(data))
        if isinstance(raw, dict):
            _check_members(raw, what)
        return msgspec.convert(raw, type=decodable(cls), dec_hook=_decode_digest)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptContent(f"invalid {what}: {error}") from None
    except RecursionError:
        raise CorruptContent(f"invalid {what}: nested too deeply") from None


def encode(document: Document) -> bytes:
    """``document`` as JSON, always the same bytes: fields in the order above, maps sorted, no spaces."""
    return msgspec.json.encode(document, enc_hook=str, order="deterministic")


def check_layers(manifest: Manifest, config: ImageConfig) -> None:
    """Raises CorruptContent unless the manifest and the configuration tell of equally many layers."""
    listed, identified = len(manifest.layers), len(config.rootfs.diff_ids)
    if listed != identified:
        raise CorruptContent(f"invalid image: {listed} layers in the manifest, {identified} in the config")


def layers(manifest: Manifest, config: ImageConfig) -> tuple[Layer, ...]:
    """The layers of an image, bottom first. Raises CorruptContent as ``check_layers`` does."""
    check_layers(manifest, config)
    diff_ids = config.rootfs.diff_ids
    return tuple(map(Layer, manifest.layers, diff_ids, chain_ids(diff_ids)))


_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
    "mips64": ("mips64", ""),
}


def platform_of_machine(machine: str) -> Platform:
    """The Linux platform of a machine named as by uname(2); raises HostError for an unknown one."""
    if machine not in _ARCHITECTURES:
        raise HostError(f"no image platform is known for the machine type {machine!r}")
    architecture, variant = _ARCHITECTURES[machine]
    return Platform(architecture=architecture, os="linux", variant=variant)


def _check_media_type(media_type: str, known: tuple[str, ...]) -> None:
    if media_type and media_type not in known:
        raise ValueError(f"media type {media_type[:100]!r} contradicts the content")


def _check_members(document: Mapping[str, Any], what: str) -> None:
    """Go, and with it most who read such documents, takes no notice of capitals. Raises CorruptContent."""
    names = {name.casefold() for name in document}
    if len(names) < len(document):
        raise CorruptContent(f"invalid {what}: it has members whose names differ in capitals alone")
    if "manifests" in names and not names.isdisjoint(("layers", "config")):
        raise CorruptContent(f"invalid {what}: it is both a manifest and an index")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _decode_digest(wanted: type, value: Any) -> Digest:
    if wanted is not Digest or not isinstance(value, str):
        raise ValueError(f"expected a {wanted.__name__}, got {type(value).__name__}")
    try:
        return Digest.parse(value)
    except CorruptContent as error:
        raise ValueError(str(error)) from None
