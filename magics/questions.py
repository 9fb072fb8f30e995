"""Questions that a command asks in a notebook: in the front end's own input field, where it has one."""

from __future__ import annotations

import getpass

from IPython.core.error import StdinNotImplementedError

from kernel_sandbox.errors import UsageError


def ask(question: str, secret: bool) -> str:
    """The line that answers a question, which does not show where it is *secret*. Raises UsageError."""
    try:
        return getpass.getpass(question) if secret else input(question)
    except (StdinNotImplementedError, EOFError):
        raise UsageError(
            "nobody can be asked here: start the cell with %%container login -u USER --password-stdin"
            " and write the password below, or log in on a command line"
        ) from None
