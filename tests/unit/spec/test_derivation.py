"""An image out of another and one more layer."""

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import derivation
from kernel_sandbox.spec.derivation import EMPTY_LAYER, Base, Origin, derive, manifest
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import OCI_LAYER_GZIP, ContainerConfig, Descriptor, Platform, check_layers, encode

MACHINE = Platform(architecture="arm64", os="linux", variant="v8")
CREATED = 1_700_000_000_500_000_000


def grown(base: Base | None, content: bytes, origin: Origin = Origin()) -> Base:  # noqa: B008  frozen
    layer = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(b"blob" + content), size=len(content))
    diff_id = Digest.of(content) if content else EMPTY_LAYER
    return derive(base, layer, diff_id, ContainerConfig(cmd=("sh",)), origin, CREATED, MACHINE)


def test_the_first_layer_makes_an_image_of_this_machine():
    image = grown(None, b"one", Origin("made", "a note", "me"))
    assert (image.config.architecture, image.config.variant) == ("arm64", "v8")
    assert image.config.created == "2023-11-14T22:13:20.500000Z"
    assert [(event.created_by, event.comment) for event in image.config.history] == [("made", "a note")]


def test_a_layer_goes_on_top_and_history_is_kept():
    image = grown(grown(None, b"one"), b"two")
    assert image.config.rootfs.diff_ids == (Digest.of(b"one"), Digest.of(b"two"))
    assert len(image.layers) == len(image.config.history) == 2


def test_an_unchanged_container_adds_history_alone():
    image = grown(grown(None, b"one"), b"")
    assert len(image.layers) == 1
    assert [event.empty_layer for event in image.config.history] == [False, True]


def test_the_manifest_fits_its_configuration():
    image = grown(None, b"one")
    document = encode(image.config)
    made = manifest(image, Digest.of(document))
    assert (made.config.digest, made.config.size) == (Digest.of(document), len(document))
    check_layers(made, image.config)


def test_an_image_has_so_many_layers_and_no_more(monkeypatch):
    monkeypatch.setattr(derivation, "MAX_LAYERS", 1)
    with pytest.raises(UsageError, match="max depth exceeded"):
        grown(grown(None, b"one"), b"two")
