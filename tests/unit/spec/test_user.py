"""``--user`` looked up in a container's own account files."""

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.user import identify

PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/sbin:/bin/false
alice:x:1000:1001:Alice:/home/alice:/bin/sh
1234:x:77:78::/numeric:/bin/sh
homeless:x:5:5:::
broken line
worse:x:nan:0::/:
"""
GROUP = """root:x:0:
staff:x:50:alice,daemon
audio:x:29:alice
broken
alice:x:1001:
"""


@pytest.mark.parametrize(
    ("user", "uid", "gid", "additional", "directory"),
    [
        ("", 0, 0, (0,), "/root"),
        ("root", 0, 0, (0,), "/root"),
        ("0", 0, 0, (0,), "/root"),
        ("alice", 1000, 1001, (1001, 50, 29), "/home/alice"),
        ("1000", 1000, 1001, (1001, 50, 29), "/home/alice"),
        ("alice:staff", 1000, 50, (50,), "/home/alice"),
        ("alice:7", 1000, 7, (7,), "/home/alice"),
        ("alice:", 1000, 1001, (1001, 50, 29), "/home/alice"),
        ("4242", 4242, 0, (0,), "/"),
        ("4242:4343", 4242, 4343, (4343,), "/"),
        ("1234", 77, 78, (78,), "/numeric"),
        ("homeless", 5, 5, (5,), "/"),
        (":staff", 0, 50, (50,), "/root"),
        ("2147483647", 2147483647, 0, (0,), "/"),
    ],
)
def test_a_user_is_found(user, uid, gid, additional, directory):
    found = identify(user, PASSWD, GROUP)
    assert (found.uid, found.gid, found.additional_gids, found.home) == (uid, gid, additional, directory)


@pytest.mark.parametrize(
    "user",
    ["bob", "worse", "alice:bobs", "2147483648", "0:2147483648", "-1", "0:-1", "broken line"],
)
def test_what_is_not_there_or_out_of_range_is_refused(user):
    with pytest.raises(UsageError):
        identify(user, PASSWD, GROUP)


def test_without_account_files_numbers_still_work():
    assert identify("12:34", "", "").uid == 12
    assert identify("", "", "").home == "/"
    with pytest.raises(UsageError, match="root"):
        identify("root", "", "")


@pytest.mark.parametrize("user", ["²", "0:²", "odd", "0:odd"])
def test_digits_of_other_scripts_are_no_numbers(user):
    with pytest.raises(UsageError):
        identify(user, "odd:x:²:0::/:\n", "odd:x:²:\n")


def test_groups_are_added_by_name_and_number():
    found = identify("1234", PASSWD, GROUP, ("staff", "9", "9"))
    assert found.additional_gids == (78, 50, 9)
    assert found.added_gids == (50, 9, 9)
    with pytest.raises(UsageError, match=r"^Unable to find group nosuch: no matching"):
        identify("", PASSWD, GROUP, ("nosuch",))
