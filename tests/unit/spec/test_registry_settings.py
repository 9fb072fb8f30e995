"""``registries.json``: which registries are insecure, which have mirrors, and what is wrong with a wrong file."""

import json

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.registry_settings import RegistrySettings, decode


def settings(**members) -> RegistrySettings:
    return decode(json.dumps({name.replace("_", "-"): value for name, value in members.items()}).encode())


@pytest.mark.parametrize(
    ("domain", "insecure"),
    [
        ("127.0.0.1", True), ("127.0.0.1:5000", True), ("127.9.8.7:1", True), ("[::1]:5000", True), ("[::1]", True),
        ("localhost", True), ("localhost:5000", True), ("LOCALHOST:5000", True),
        ("localhost.example", False), ("127.0.0.1.example:5000", False), ("128.0.0.1:5000", False), ("[::2]", False),
        ("docker.io", False), ("registry.example", False),
    ],
)  # fmt: skip
def test_only_this_machines_registries_are_insecure_by_themselves(domain, insecure):
    assert decode(b"{}").is_insecure(domain) is insecure


@pytest.mark.parametrize(
    ("entry", "domain", "insecure"),
    [
        ("registry.example:5000", "registry.example:5000", True),
        ("registry.example:5000", "registry.example", False),
        ("registry.example", "registry.example:5000", False),
        ("http://registry.example", "registry.example", True),
        ("Registry.Example", "registry.example", True),
        ("10.0.0.0/8", "10.1.2.3:5000", True),
        ("10.0.0.1/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3:5000", False),
        ("fd00::/8", "[fd00::1]:5000", True),
        ("0.0.0.0/0", "registry.example", False),
        ("docker.io", "docker.io", False),
    ],
)
def test_insecure_registries_are_hosts_and_networks(entry, domain, insecure):
    assert settings(insecure_registries=[entry]).is_insecure(domain) is insecure


def test_a_list_of_mirrors_is_for_docker_hub():
    found = settings(registry_mirrors=["https://one.example", "http://two.example:5000/"])
    assert found.mirrors("docker.io") == ("https://one.example", "http://two.example:5000")
    assert found.mirrors("registry.example") == ()


def test_an_object_of_mirrors_is_for_any_registry():
    found = settings(registry_mirrors={"registry.example:5000": ["https://one.example"]})
    assert found.mirrors("registry.example:5000") == ("https://one.example",)
    assert found.mirrors("docker.io") == ()


def test_as_many_blobs_travel_at_once_as_with_docker():
    assert (decode(b"{}").max_concurrent_downloads, decode(b"{}").max_concurrent_uploads) == (3, 5)
    assert settings(max_concurrent_downloads=1).max_concurrent_downloads == 1


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"insecure_registry": []}, "unknown field `insecure-registry`"),
        ({"insecure_registries": "x"}, "insecure-registries: Expected `array`"),
        ({"insecure_registries": ["a/b"]}, "insecure-registries: 'a/b' is no host"),
        ({"insecure_registries": ["10.0.0.0/99"]}, "insecure-registries: '10.0.0.0/99' is no host"),
        ({"insecure_registries": [""]}, "insecure-registries: '' is no host"),
        ({"registry_mirrors": ["mirror.example"]}, 'invalid mirror: "mirror.example" is not a valid URI'),
        ({"registry_mirrors": ["ftp://mirror.example"]}, 'unsupported scheme "ftp"'),
        ({"registry_mirrors": ["https://u:s3cret@mirror.example"]}, "username/password not allowed"),
        ({"registry_mirrors": ["https://mirror.example/v2"]}, "path, query, or fragment"),
        ({"registry_mirrors": ["https://mirror.example?x"]}, "path, query, or fragment"),
        ({"registry_mirrors": ["https://[::1"]}, "is not a valid URI"),
        ({"registry_mirrors": {"docker.io": ["file:///etc"]}}, "is not a valid URI"),
        ({"registry_mirrors": {"docker.io": "https://x"}}, "registry-mirrors"),
        ({"max_concurrent_downloads": 0}, "max-concurrent-downloads"),
        ({"max_concurrent_downloads": "3"}, "max-concurrent-downloads"),
        ({"max_concurrent_uploads": 1000}, "max-concurrent-uploads"),
    ],
)
def test_a_wrong_key_is_named(members, complaint):
    with pytest.raises(UsageError) as caught:
        settings(**members)
    assert complaint in str(caught.value) and "s3cret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{", b"[" * 100_000])
def test_what_is_no_document_is_refused(content):
    with pytest.raises(UsageError):
        decode(content)
