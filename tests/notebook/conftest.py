"""Kernels need the embedded Python image; what they leave is looked for in the store and in its runtime directory."""

import os
from collections.abc import Callable

import pytest
from support.store import Store

from kernel_sandbox.engine.paths import Paths


@pytest.fixture(autouse=True)
def image(python_image: str) -> str:
    """Every test here finds the image made."""
    return python_image


@pytest.fixture
def remains(shared_store: Store) -> Callable[[], list[str]]:
    """What kernels have left: containers, running or not, and files of theirs."""
    paths = Paths.of(str(shared_store.home))

    def found() -> list[str]:
        containers = os.listdir(os.path.join(paths.home, "containers"))
        runtime = os.listdir(paths.run) if os.path.isdir(paths.run) else []
        return [*containers, *runtime]

    return found
