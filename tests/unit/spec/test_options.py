"""Names that a container may have."""

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import options


@pytest.mark.parametrize(
    ("name", "valid"), [("ab", 1), ("a.b_c-9", 1), ("a", 0), ("-ab", 0), ("a/b", 0), ("ä1", 0), ("a\n", 0)]
)
def test_container_names(name, valid):
    if valid:
        assert options.checked_name(name) == name
        return
    with pytest.raises(UsageError):
        options.checked_name(name)


@pytest.mark.parametrize(
    ("name", "valid"), [("a", 1), ("my_host.example", 1), ("n" * 64, 1), ("n" * 65, 0), ("a\nb", 0)]
)
def test_host_names(name, valid):
    if valid:
        assert options.checked_hostname(name) == name
        return
    with pytest.raises(UsageError):
        options.checked_hostname(name)


def test_the_containers_whose_namespaces_are_shared():
    sharing = options.Sharing(pid="container:a", network="container:a", uts="host", ipc="none")
    assert sharing.of_containers() == {"pid": "a", "network": "a"}
