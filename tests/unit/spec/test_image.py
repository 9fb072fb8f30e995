import json

import pytest

from kernel_sandbox.errors import CorruptContent, HostError
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import (
    DOCKER_MANIFEST_LIST,
    MAX_DOCUMENT,
    MAX_LAYERS,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    ContainerConfig,
    Descriptor,
    Document,
    Empty,
    Healthcheck,
    History,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    RootFS,
    check_layers,
    decode,
    encode,
    platform_of_machine,
)

DIGEST = Digest.of(b"content")
LAYER = Descriptor(media_type=OCI_LAYER_GZIP, digest=DIGEST, size=7)
MANIFEST = Manifest(
    schema_version=2,
    media_type=OCI_MANIFEST,
    config=Descriptor(media_type=OCI_CONFIG, digest=DIGEST, size=7),
    layers=(LAYER,),
)
CONFIG = ImageConfig(
    created="2024-01-02T03:04:05.678Z",
    architecture="arm64",
    os="linux",
    variant="v8",
    config=ContainerConfig(env=("PATH=/bin",), cmd=("sh",), exposed_ports={"80/tcp": Empty(), "53/udp": Empty()}),
    rootfs=RootFS(type="layers", diff_ids=(DIGEST,)),
    history=(History(created_by="ADD rootfs"), History(created_by="CMD", empty_layer=True)),
)
INDEX = Index(
    schema_version=2,
    media_type=OCI_INDEX,
    manifests=(
        Descriptor(
            media_type=OCI_MANIFEST,
            digest=DIGEST,
            size=3,
            platform=Platform(architecture="amd64", os="linux"),
        ),
    ),
)


@pytest.mark.parametrize("document", [MANIFEST, CONFIG, INDEX], ids=lambda document: type(document).__name__)
def test_a_document_survives_encoding(document: Document) -> None:
    assert decode(type(document), encode(document)) == document


def test_documents_have_the_names_of_the_specification() -> None:
    manifest = json.loads(encode(MANIFEST))
    assert list(manifest) == ["schemaVersion", "mediaType", "config", "layers"]
    assert manifest["layers"] == [{"mediaType": OCI_LAYER_GZIP, "digest": str(DIGEST), "size": 7}]
    config = json.loads(encode(CONFIG))
    assert config["rootfs"] == {"type": "layers", "diff_ids": [str(DIGEST)]}
    assert config["config"] == {
        "ExposedPorts": {"53/udp": {}, "80/tcp": {}},
        "Env": ["PATH=/bin"],
        "Cmd": ["sh"],
    }
    assert config["history"][1] == {"created_by": "CMD", "empty_layer": True}
    assert "os.version" in json.loads(encode(Platform(architecture="amd64", os="windows", os_version="10")))


def test_equal_documents_have_equal_bytes() -> None:
    one = ContainerConfig(labels={"a": "1", "b": "2"})
    other = ContainerConfig(labels={"b": "2", "a": "1"})
    assert encode(one) == encode(other)


def test_the_config_of_a_docker_image_is_read() -> None:
    document = {
        "architecture": "amd64",
        "config": {
            "Hostname": "", "Tty": False, "User": "", "Env": ["A=b"], "Cmd": None, "Volumes": None, "OnBuild": None,
            "ArgsEscaped": True, "Entrypoint": ["/x"], "Labels": {"k": "v"}, "Shell": ["/bin/sh", "-c"],
            "Healthcheck": {"Test": ["CMD", "true"], "StartPeriod": 5, "Retries": 3}, "StopSignal": "SIGINT",
        },
        "container": "8dfe43d80430", "container_config": {"Cmd": None}, "docker_version": "20.10",
        "created": "2020-01-02T03:04:05.678901234+02:00", "os": "linux", "moby.buildkit.buildinfo.v1": "e30=",
        "rootfs": {"type": "layers", "diff_ids": [str(DIGEST)]},
        "history": [{"created": "0001-01-01T00:00:00Z", "created_by": "x", "comment": "buildkit"}],
    }  # fmt: skip
    config = decode(ImageConfig, json.dumps(document).encode())
    assert config.config.cmd == config.config.on_build == ()
    assert config.config.entrypoint == ("/x",)
    assert config.config.volumes == {}
    assert config.config.healthcheck == Healthcheck(test=("CMD", "true"), start_period=5, retries=3)
    assert config.platform == Platform(architecture="amd64", os="linux")
    assert isinstance(config.rootfs.diff_ids[0], Digest)


def test_a_docker_manifest_list_is_an_index() -> None:
    document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST_LIST, "manifests": []}
    assert decode(Index, json.dumps(document).encode()).manifests == ()


def _manifest(**changes: object) -> bytes:
    return json.dumps({**json.loads(encode(MANIFEST)), **changes}).encode()


def _layer(**changes: object) -> bytes:
    return _manifest(layers=[{**json.loads(encode(LAYER)), **changes}])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"schemaVersion":' + b"9" * 5000 + b"}",
        b" " * (MAX_DOCUMENT + 1),
        _manifest(schemaVersion=1),
        _manifest(manifests=[]),
        _manifest(mediaType=OCI_INDEX),
        _manifest(mediaType=7),
        _manifest(config=None),
        _manifest(layers=[None]),
        _manifest(layers=[json.loads(encode(LAYER))] * (MAX_LAYERS + 1)),
        _manifest(annotations={"a": 1}),
        _layer(digest="sha256:../../etc/passwd"),
        _layer(digest=["sha256"]),
        _layer(digest=""),
        _layer(size=-1),
        _layer(size=2**63),
        _layer(size="7"),
    ],
    ids=lambda data: repr(data[:60]),
)
def test_a_hostile_manifest_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(CorruptContent) as refusal:
        decode(Manifest, data)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_a_manifest_is_no_index() -> None:
    with pytest.raises(CorruptContent):
        decode(Index, encode(MANIFEST))
    with pytest.raises(CorruptContent):
        decode(Index, b'{"schemaVersion":2,"manifests":[],"config":{}}')


@pytest.mark.parametrize(
    "rootfs", [None, {}, {"type": "tar", "diff_ids": []}, {"type": "layers", "diff_ids": ["sha256:x"]}]
)
def test_a_config_without_proper_layers_is_refused(rootfs: object) -> None:
    with pytest.raises(CorruptContent):
        decode(ImageConfig, json.dumps({"architecture": "a", "os": "linux", "rootfs": rootfs}).encode())


@pytest.mark.parametrize("created", ["yesterday", "2020-01-01", "2020-01-01T00:00:00Z\n", "2020-01-01T00:00:00\x1b[2J"])
def test_a_time_is_rfc_3339(created: str) -> None:
    with pytest.raises(CorruptContent):
        decode(History, json.dumps({"created": created}).encode())


def test_manifest_and_config_must_agree_on_the_number_of_layers() -> None:
    check_layers(MANIFEST, CONFIG)
    with pytest.raises(CorruptContent, match="0 layers in the manifest, 1 in the config"):
        check_layers(decode(Manifest, _manifest(layers=[])), CONFIG)


def test_a_machine_has_gos_platform_name() -> None:
    assert str(platform_of_machine("x86_64")) == "linux/amd64"
    assert str(platform_of_machine("aarch64")) == "linux/arm64/v8"
    assert str(platform_of_machine("armv7l")) == "linux/arm/v7"
    with pytest.raises(HostError, match="pdp11"):
        platform_of_machine("pdp11")
