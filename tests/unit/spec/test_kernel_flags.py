"""The text of flags about the kernel: processors, ulimits, devices, sysctls."""

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import kernel_flags as flags
from kernel_sandbox.spec.options import Device, Ulimit


@pytest.mark.parametrize(
    ("text", "nano"), [("1", 10**9), ("0.5", 5 * 10**8), ("1/4", 25 * 10**7), ("1e-1", 10**8), ("-1", -(10**9))]
)
def test_processors(text, nano):
    assert flags.parse_cpus(text) == nano


@pytest.mark.parametrize(
    ("text", "reason"), [("x", "rational"), ("", "rational"), ("1e-10", "precise"), ("1/0", "rat")]
)
def test_bad_processors(text, reason):
    with pytest.raises(UsageError, match=reason):
        flags.parse_cpus(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("nofile=10", Ulimit("nofile", 10, 10)),
        ("nofile=10:20", Ulimit("nofile", 10, 20)),
        ("core=-1", Ulimit("core", -1, -1)),
        ("core=0:-1", Ulimit("core", 0, -1)),
    ],
)
def test_ulimits(text, limit):
    assert flags.parse_ulimit(text) == limit


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nofile", "invalid ulimit argument: nofile"),
        ("bogus=1", "invalid ulimit type: bogus"),
        ("nofile=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("nofile=1:2:3", "too many limit value arguments - 1:2:3, can only have up to two"),
        ("nofile=20:10", "soft limit must be less than or equal to hard limit: 20 > 10"),
        ("nofile=-1:10", "soft limit must be less than or equal to hard limit"),
    ],
)
def test_bad_ulimits(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        flags.parse_ulimit(text)


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("/dev/a", Device("/dev/a", "/dev/a")),
        ("/dev/a:r", Device("/dev/a", "/dev/a", "r")),
        ("/dev/a:/dev/b", Device("/dev/a", "/dev/b")),
        ("/dev/a:/dev//b/:rw", Device("/dev/a", "/dev/b", "rw")),
    ],
)
def test_devices(text, device):
    assert flags.parse_device(text) == device


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "bad format for path: "),
        ("a:b:c:d", "bad format for path: a:b:c:d"),
        ("null", "null is not an absolute path"),
        ("/dev/a:b", "b is not an absolute path"),
        ("/dev/a:/dev/b:zz", "bad mode specified: zz"),
        ("/dev/a:/dev/b:rr", "bad mode specified: rr"),
    ],
)
def test_bad_devices(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        flags.parse_device(text)


def test_settings_of_the_containers_own_namespaces():
    assert flags.parse_sysctl("kernel.msgmax=9") == ("kernel.msgmax", "9")
    assert flags.parse_sysctl("net.ipv4.ip_forward=1") == ("net.ipv4.ip_forward", "1")
    assert flags.namespace_of("fs.mqueue.msg_max") == "ipc"
    assert flags.namespace_of("net.ipv4.ip_forward") == "network"


@pytest.mark.parametrize(
    "text",
    ["foo=1", "kernel.msgmax", "kernel.hostname=x", "kernel.core_pattern=|/x", "vm.swappiness=1", "net=1",
     "net./../../kernel/core_pattern=x", "net...kernel=1", "net.=1", "fs.file-max=1", "net/ipv4/ip_forward=1"],
)  # fmt: skip
def test_other_settings_are_refused(text):
    with pytest.raises(UsageError, match="is not allowed"):
        flags.parse_sysctl(text)
