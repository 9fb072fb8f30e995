"""Flags that share namespaces, and what goes with them."""

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import sharing
from kernel_sandbox.spec.options import ContainerOptions, Network, Sharing


@pytest.mark.parametrize(
    ("text", "mode"), [("", ""), ("private", ""), ("host", "host"), ("container:x", "container:x")]
)
def test_modes(text, mode):
    assert sharing.parse("pid", text) == mode
    assert sharing.parse_ipc(text) == mode


@pytest.mark.parametrize(
    ("type_", "complaint"),
    [
        ("pid", "--pid: invalid PID mode"),
        ("uts", "--uts: invalid UTS mode"),
        ("user", "--userns: invalid USER mode"),
        ("cgroup", "--cgroupns: invalid CGROUP mode"),
    ],
)
def test_bad_modes(type_, complaint):
    for text in ("bogus", "container:", "shareable"):
        with pytest.raises(UsageError, match=complaint):
            sharing.parse(type_, text)


def test_ipc_has_modes_of_its_own():
    assert [sharing.parse_ipc(text) for text in ("shareable", "none")] == ["shareable", "none"]
    assert [sharing.is_shareable(text) for text in ("", "none", "shareable", "host")] == [False, False, True, True]
    with pytest.raises(UsageError, match="Invalid IPC mode: bogus"):
        sharing.parse_ipc("bogus")


def test_networks():
    assert sharing.parse_network("none") == (Network.NONE, "")
    assert sharing.parse_network("host") == (Network.HOST, "")
    assert sharing.parse_network("container:x") == (Network.NONE, "container:x")
    with pytest.raises(UsageError, match="bridge9"):
        sharing.parse_network("bridge9")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"sharing": Sharing(uts="host"), "hostname": "x"}, "hostname and the UTS mode"),
        ({"sharing": Sharing(network="container:x"), "hostname": "x"}, "hostname and the network mode"),
        ({"network": Network.HOST, "sysctls": {"net.ipv4.ip_forward": "1"}}, "not allowed in host network namespace"),
        ({"sharing": Sharing(ipc="host"), "sysctls": {"kernel.msgmax": "1"}}, "not allowed in the hosts ipc namespace"),
        ({"sharing": Sharing(ipc="container:x"), "sysctls": {"kernel.msgmax": "1"}}, "another container's ipc"),
    ],
)
def test_what_a_shared_namespace_excludes(options, complaint):
    with pytest.raises(UsageError, match=complaint):
        sharing.check(ContainerOptions("image", **options))


def test_settings_of_a_private_namespace_go_with_others_that_are_shared():
    sharing.check(ContainerOptions("image", network=Network.HOST, sysctls={"kernel.msgmax": "1"}))
    sharing.check(ContainerOptions("image", sharing=Sharing(ipc="host"), sysctls={"net.ipv4.ip_forward": "1"}))
