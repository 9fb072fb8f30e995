"""Proxies of the environment, as Docker reads it."""

import pytest

from kernel_sandbox.spec.proxies import proxy_to

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("environment", "scheme", "proxy"),
    [
        ({}, "https", ""),
        ({"HTTP_PROXY": PROXY}, "https", ""),
        ({"HTTPS_PROXY": PROXY}, "https", PROXY),
        ({"https_proxy": PROXY}, "https", PROXY),
        ({"HTTPS_PROXY": PROXY, "https_proxy": "http://other"}, "https", PROXY),
        ({"HTTPS_PROXY": "", "https_proxy": PROXY}, "https", PROXY),
        ({"http_proxy": PROXY}, "http", PROXY),
        ({"ALL_PROXY": PROXY}, "http", PROXY),
        ({"ALL_PROXY": "http://other", "HTTP_PROXY": PROXY}, "http", PROXY),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "https", PROXY),
        ({"HTTPS_PROXY": "socks5://proxy.example"}, "https", "socks5://proxy.example"),
    ],
)
def test_a_variable_for_each_scheme_names_the_proxy(environment, scheme, proxy):
    assert proxy_to(environment, scheme, "registry.example", 443) == proxy


@pytest.mark.parametrize(
    ("exceptions", "host", "port", "direct"),
    [
        ("registry.example", "registry.example", 443, True),
        ("Registry.Example", "registry.EXAMPLE", 443, True),
        ("registry.example", "below.registry.example", 443, True),
        ("registry.example", "otherregistry.example", 443, False),
        ("registry.example:5000", "registry.example", 5000, True),
        ("registry.example:5000", "registry.example", 443, False),
        (".registry.example", "below.registry.example", 443, True),
        (".registry.example", "registry.example", 443, False),
        ("*.registry.example", "below.registry.example", 443, True),
        ("*.registry.example", "registry.example", 443, False),
        ("*.registry.example:5000", "below.registry.example", 5000, True),
        ("*", "registry.example", 443, True),
        ("other, *", "10.1.2.3", 443, True),
        ("other, registry.example ,third", "registry.example", 443, True),
        ("*registry.example", "registry.example", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.9.9.9/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.0.0.0/8", "registry.example", 443, False),
        ("fd00::/8", "fd00::1", 443, True),
        ("fd00::/8", "10.1.2.3", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:5000", "10.1.2.3", 443, False),
        ("2.3", "10.1.2.3", 443, False),
        ("registry.example:", "registry.example", 443, True),
        ("http://registry.example", "registry.example", 443, False),
        ("10.1.2.3", "::ffff:10.1.2.3", 443, True),
        ("fd00::1", "fd00:0::1", 443, True),
        ("[fd00::1]:5000", "fd00::1", 5000, True),
        ("[fd00::1]:5000", "fd00::1", 443, False),
        ("", "registry.example", 443, False),
        (",:5000,/,10.0.0.0/99,[,]", "10.0.0.1", 5000, False),
    ],
)  # fmt: skip
def test_no_proxy_lists_who_is_asked_directly(exceptions, host, port, direct):
    for name in ("NO_PROXY", "no_proxy"):
        found = proxy_to({"HTTPS_PROXY": PROXY, name: exceptions}, "https", host, port)
        assert found == ("" if direct else PROXY)
