"""Names of hosts and ports, and the two files in /etc that come of them."""

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import resolver
from kernel_sandbox.spec.options import ContainerOptions

OWN = "# comment\nsearch own.example\nnameserver 10.0.0.1\noptions edns0\n"


@pytest.mark.parametrize(
    ("text", "host"), [("a:1.2.3.4", "a:1.2.3.4"), ("a=::1", "a:::1"), ("a:[::1]", "a:::1"), ("a:::1", "a:::1")]
)
def test_hosts(text, host):
    assert resolver.parse_host(text) == host


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x", 'bad format for add-host: "x"'),
        (":1.2.3.4", 'bad format for add-host: ":1.2.3.4"'),
        ("a b:1.2.3.4", "bad format for add-host"),
        ("a\nb:1.2.3.4", "bad format for add-host"),
        ("a:1.2", 'invalid IP address in add-host: "1.2"'),
        ("a:fe80::1%eth0", "invalid IP address"),
    ],
)
def test_bad_hosts(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        resolver.parse_host(text)


def test_addresses_and_domains():
    assert [resolver.parse_address(text) for text in ("1.2.3.4", " ::1 ")] == ["1.2.3.4", "::1"]
    assert [resolver.parse_domain(text) for text in (".", "a.b", "a_b-c.example.")] == [".", "a.b", "a_b-c.example."]
    for text in ("", "1.2", "x"):
        with pytest.raises(UsageError, match="IP address is not correctly formatted"):
            resolver.parse_address(text)
    for text in ("a b", "-x", "", "a\nb"):
        with pytest.raises(UsageError, match="is not a valid domain"):
            resolver.parse_domain(text)


@pytest.mark.parametrize("text", ["", "a b", "a\nnameserver 1.2.3.4"])
def test_an_option_is_one_word(text):
    with pytest.raises(UsageError, match="invalid DNS option"):
        resolver.parse_option(text)


def test_exposed_ports():
    assert resolver.parse_exposed("80") == ("80/tcp",)
    assert resolver.parse_exposed("80-82/udp") == ("80/udp", "81/udp", "82/udp")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("80:90", "^invalid port format for --expose: 80:90$"),
        ("x", '^invalid range format for --expose: x, error: strconv.ParseUint: parsing "x": invalid syntax$'),
        ("", "^invalid range format for --expose: , error: empty string specified for ports$"),
        ("70000", "value out of range$"),
        ("90-80", "error: invalid range specified for port: 90-80$"),
    ],
)
def test_bad_ports(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        resolver.parse_exposed(text)


def test_hosts_are_told_before_the_containers_own_name():
    lines = resolver.hosts("own", ("a:1.2.3.4", "b:::1")).splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[-3:] == ["1.2.3.4\ta", "::1\tb", "127.0.1.1\town"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, OWN),
        ({"dns": ("1.1.1.1", "::2")}, "search own.example\nnameserver 1.1.1.1\nnameserver ::2\noptions edns0\n"),
        ({"dns_search": ("a.b", "c")}, "search a.b c\nnameserver 10.0.0.1\noptions edns0\n"),
        ({"dns_search": (".",)}, "nameserver 10.0.0.1\noptions edns0\n"),
        ({"dns_options": ("rotate",)}, "search own.example\nnameserver 10.0.0.1\noptions rotate\n"),
    ],
)
def test_what_is_asked_for_takes_the_place_of_the_hosts_own(options, text):
    assert resolver.resolv_conf(ContainerOptions("image", **options), OWN) == text
