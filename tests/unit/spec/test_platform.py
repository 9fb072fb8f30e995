"""Platforms: what a specifier means, what runs where, and which manifest of an index is taken."""

import pytest

from kernel_sandbox.errors import NotFound, UsageError
from kernel_sandbox.spec import platform as platforms
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor, Platform

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64", variant="v8")


def offer(platform, number=0, media_type=OCI_MANIFEST):
    digest = Digest(f"sha256:{number:064x}")
    return Descriptor(media_type=media_type, digest=digest, size=2, platform=platform and parsed(platform))


def parsed(text):
    return platforms.parse(text, AMD64)


def chosen(wanted, *offers):
    """The number of the one that is taken."""
    found = platforms.choose([offer(each, number) for number, each in enumerate(offers)], parsed(wanted))
    return int(found.digest.hex, 16)


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/x86-64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux", "linux/amd64"),
        ("macos", "darwin/amd64"),
        ("Linux/aarch64/v8", "linux/arm64"),
        ("linux/arm64/9", "linux/arm64/v9"),
        ("i386", "linux/386"),
        ("linux/386/v5", "linux/386"),
        ("arm", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("freebsd/riscv64", "freebsd/riscv64"),
        ("wasip1/wasm", "wasip1/wasm"),
    ],
)
def test_a_specifier_is_brought_to_its_normal_form(text, platform):
    assert str(parsed(text)) == platform


def test_what_a_specifier_leaves_out_is_the_machines():
    assert str(platforms.parse("linux", ARM64)) == "linux/arm64"
    assert str(platforms.parse("freebsd", Platform(os="linux", architecture="arm", variant="v6"))) == "freebsd/arm/v6"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bogus", '"bogus": unknown operating system or architecture: invalid argument'),
        ("a/b/c/d", '"a/b/c/d": cannot parse platform specifier: invalid argument'),
        ("linux/*", '"linux/*": wildcards not yet supported: invalid argument'),
        ("", '"" is an invalid component of "": platform specifier component must match "^[A-Za-z0-9_.-]+$"'),
        ("linux/", '"" is an invalid component of "linux/": platform specifier component must match'),
        ("linux/é", '"é" is an invalid component of "linux/é": platform specifier component must match'),
        ("linux/amd64\n", '"amd64\n" is an invalid component'),
    ],
)
def test_a_wrong_specifier_is_refused_in_dockers_words(text, complaint):
    with pytest.raises(UsageError) as refused:
        parsed(text)
    assert refused.value.args[0].startswith(complaint)


@pytest.mark.parametrize(
    ("wanted", "actual", "is_match"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/386", True),
        ("linux/386", "linux/amd64", False),
        ("linux/amd64/v3", "linux/amd64/v2", True),
        ("linux/amd64", "linux/amd64/v2", False),
        ("linux/arm64", "linux/arm/v7", True),
        ("linux/arm/v7", "linux/arm/v6", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm64", "linux/amd64", False),
        ("windows/amd64", "linux/amd64", False),
    ],
)
def test_an_image_suits_the_platforms_that_can_run_it(wanted, actual, is_match):
    assert platforms.matches(parsed(wanted), parsed(actual)) is is_match


def test_the_best_of_those_that_would_do_is_taken():
    assert chosen("linux/amd64", "linux/386", "linux/arm64", "linux/amd64") == 2
    assert chosen("linux/arm/v7", "linux/arm/v5", "linux/arm/v6", "linux/arm64") == 1
    assert chosen("linux/arm64", "linux/arm/v6", "linux/arm/v7") == 1
    assert chosen("linux/amd64/v3", "linux/amd64", "linux/amd64/v4", "linux/amd64/v2") == 2


def test_of_equals_the_first_is_taken():
    assert chosen("linux/amd64", "linux/arm64", "linux/amd64", "linux/x86_64") == 1


def test_one_for_no_platform_is_the_last_resort():
    assert chosen("linux/amd64", None, "linux/arm64") == 0
    assert chosen("linux/amd64", None, "linux/amd64") == 1


def test_what_is_no_manifest_is_passed_over():
    offers = [offer("linux/amd64", 0, "application/octet-stream"), offer("linux/amd64", 1, DOCKER_MANIFEST)]
    assert platforms.choose(offers, AMD64) == offers[1]
    nested = offer("linux/amd64", 2, OCI_INDEX)
    assert platforms.choose([nested], AMD64) == nested


def test_where_nothing_suits_what_is_offered_is_named():
    attestation = offer("unknown/unknown", 3)
    with pytest.raises(NotFound) as refused:
        platforms.choose([offer("linux/arm64"), offer("windows/amd64"), attestation], parsed("linux/arm/v7"))
    assert str(refused.value) == (
        "no matching manifest for linux/arm/v7 in the manifest list entries: there are linux/arm64, windows/amd64"
    )
    with pytest.raises(NotFound, match="in the manifest list entries: there is none"):
        platforms.choose([], AMD64)


def test_of_a_hostile_index_little_is_repeated():
    flood = [
        Descriptor(
            media_type=OCI_MANIFEST,
            digest=Digest(f"sha256:{number:064x}"),
            size=2,
            platform=Platform(os="x" * 10_000, architecture=f"\033[2J{number}", variant=""),
        )
        for number in range(50)
    ]
    flood += [offer(f"plan{number}/mips", number) for number in range(50)]
    with pytest.raises(NotFound) as refused:
        platforms.choose(flood, AMD64)
    assert len(str(refused.value)) < 1000
    assert "\033" not in str(refused.value)
