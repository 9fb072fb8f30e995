import hashlib

import pytest

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec.digest import Digest, chain_ids


def test_a_digest_has_an_algorithm_and_hex_and_spells_itself() -> None:
    digest = Digest.of(b"hello")
    assert digest.algorithm == "sha256"
    assert digest.hex == hashlib.sha256(b"hello").hexdigest()
    assert str(digest) == f"sha256:{digest.hex}"
    assert Digest.parse(str(digest)) == digest


def test_sha512_is_registered_too() -> None:
    assert Digest.parse("sha512:" + "a" * 128).algorithm == "sha512"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid checksum digest format"),
        ("sha256", "invalid checksum digest format"),
        ("sha256:", "invalid checksum digest format"),
        ("sha256:../x", "invalid checksum digest format"),
        ("sha256:" + "/" * 64, "invalid checksum digest format"),
        ("SHA256:" + "a" * 64, "invalid checksum digest format"),
        ("sha256:" + "A" * 64, "invalid checksum digest format"),
        ("sha256:" + "g" * 64, "invalid checksum digest format"),
        ("sha256:" + "a" * 64 + "\n", "invalid checksum digest format"),
        ("sha256:" + "a" * 63, "invalid checksum digest length"),
        ("sha512:" + "a" * 64, "invalid checksum digest length"),
        ("md5:" + "a" * 32, "unsupported digest algorithm"),
        ("sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564", "unsupported digest algorithm"),
    ],
)
def test_anything_else_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(CorruptContent, match=reason) as refusal:
        Digest.parse(text)
    assert "\n" not in str(refusal.value)


def test_a_chain_id_names_a_layer_with_all_below_it() -> None:
    first, second, third = (Digest.of(content) for content in (b"1", b"2", b"3"))
    assert chain_ids(()) == ()
    assert chain_ids((first,)) == (first,)
    middle = Digest.of(f"{first} {second}".encode())
    assert chain_ids((first, second, third)) == (first, middle, Digest.of(f"{middle} {third}".encode()))
