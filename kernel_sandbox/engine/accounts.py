"""Who a user is inside a container: its own passwd(5) and group(5), read from its layers."""

from __future__ import annotations

from collections.abc import Sequence

from kernel_sandbox.spec.user import Identity, identify
from kernel_sandbox.storage import merged

_MAX_ACCOUNTS = 1 << 20


def identity(layers: Sequence[str], user: str, added: Sequence[str] = ()) -> Identity:
    """The identity of *user*, as ``--user`` names one, by the files in *layers*, topmost first. Raises UsageError.

    It belongs to the *added* groups, too.
    """
    files = (merged.read_file(tuple(layers), path, _MAX_ACCOUNTS) for path in ("etc/passwd", "etc/group"))
    passwd, group = (content.decode(errors="replace") for content in files)
    return identify(user, passwd, group, added)
