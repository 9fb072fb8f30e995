"""Layers unpacked and packed, in each world this user can reach."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.worlds import ROOT, WORLDS, World

from kernel_sandbox.storage.tree import remove_tree


@pytest.fixture(params=WORLDS, ids=lambda world: world.name)
def world(request: pytest.FixtureRequest) -> World:
    if request.param is ROOT and os.geteuid() != 0:
        pytest.skip("not root: the layer is unpacked in a user namespace only")
    return request.param


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """An empty directory that may be filled with anything."""
    path = tmp_path / "layer"
    path.mkdir()
    yield path
    remove_tree(path)
