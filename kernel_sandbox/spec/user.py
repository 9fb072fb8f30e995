"""Who a container's process is: Docker's ``--user`` looked up in the container's own passwd(5) and group(5)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.units import is_number

_LAST_ID = 2**31 - 1


class Identity(msgspec.Struct, frozen=True):
    """Numeric ids inside the container, and the home directory that passwd(5) gives.

    The additional groups hold the primary one too, so that a program cannot shed what a file denies to it. Those of
    ``--group-add`` are ``added_gids`` besides.
    """

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str
    added_gids: tuple[int, ...] = ()


class _Account(msgspec.Struct, frozen=True):
    name: str
    uid: int
    gid: int
    home: str


def identify(user: str, passwd: str, group: str, added: Iterable[str] = ()) -> Identity:
    """The identity that *user* (``name|uid[:group|gid]``, empty for root) has in these two files.

    It belongs to the *added* groups, too, given by name or number.

    A number need not be listed: its group is then root's and its home ``/``. Raises UsageError for a name that
    is not listed and for a number out of range.
    """
    wanted_user, colon, wanted_group = user.partition(":")
    account = _account(wanted_user or "0", passwd)
    gid = _group_id(wanted_group, group) if colon and wanted_group else account.gid
    others = () if colon and wanted_group else _memberships(account.name, group)
    added_gids = tuple(_group_id(name, group, "Unable") for name in added)
    return Identity(account.uid, gid, tuple(dict.fromkeys((gid, *others, *added_gids))), account.home, added_gids)


def _account(wanted: str, passwd: str) -> _Account:
    accounts = [account for line in passwd.splitlines() if (account := _passwd_entry(line))]
    for account in accounts:
        if account.name == wanted:
            return account
    if not _is_id(wanted):
        raise UsageError(f"unable to find user {wanted}: no matching entries in passwd file")
    uid = _checked(wanted)
    listed = (account for account in accounts if account.uid == uid)
    return next(listed, _Account("", uid, 0, "/"))


def _passwd_entry(line: str) -> _Account | None:
    fields = line.strip().split(":")
    if len(fields) < 6 or not is_number(fields[2]) or not is_number(fields[3]):
        return None
    return _Account(fields[0], int(fields[2]), int(fields[3]), fields[5] or "/")


def _group_id(wanted: str, group: str, unable: str = "unable") -> int:
    for name, gid, _ in _groups(group):
        if name == wanted:
            return gid
    if not _is_id(wanted):
        raise UsageError(f"{unable} to find group {wanted}: no matching entries in group file")
    return _checked(wanted)


def _memberships(name: str, group: str) -> tuple[int, ...]:
    return tuple(gid for _, gid, members in _groups(group) if name and name in members)


def _groups(group: str) -> list[tuple[str, int, list[str]]]:
    rows = (line.strip().split(":") for line in group.splitlines())
    return [(row[0], int(row[2]), row[3].split(",")) for row in rows if len(row) >= 4 and is_number(row[2])]


def _is_id(text: str) -> bool:
    """Whether the text means an id, be it one out of range."""
    return is_number(text.removeprefix("-"))


def _checked(number: str) -> int:
    if not 0 <= int(number) <= _LAST_ID:
        raise UsageError(f"uids and gids must be in range 0-{_LAST_ID}")
    return int(number)
