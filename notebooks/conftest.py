"""The lessons run on a store of their own, prepared as `make demo` prepares the user's."""

import os
from contextlib import ExitStack

import pytest
from support.store import BUSYBOX, temporary_store


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before the first kernel starts: make the embedded images where the lessons find them."""
    resources = ExitStack()
    session.config.add_cleanup(resources.close)
    store = resources.enter_context(temporary_store())
    os.environ["KERNEL_SANDBOX_HOME"] = str(store.home)
    try:
        store.bootstrap()
    except AssertionError as error:
        pytest.exit(str(error), returncode=1)
    store.cli("bootstrap", BUSYBOX, timeout=110)
