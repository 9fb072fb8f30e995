"""Jobs on what a container has written, where that goes away meanwhile."""

import msgspec
import pytest

from kernel_sandbox.engine import layer_jobs, tasks
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import NotFound
from kernel_sandbox.spec.derivation import EMPTY_LAYER


@pytest.fixture
def paths(tmp_path):
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    paths.ensure()
    return paths


def of_a_container_that_is_gone(paths, was_started):
    return tasks.encode(tasks.PackDiff(paths.home, paths.run, "f" * 64, was_started, None))


def test_a_container_that_has_run_and_is_gone_is_not_taken_for_an_unchanged_one(paths):
    with pytest.raises(NotFound, match="No such container: ffff"):
        layer_jobs.pack_diff(of_a_container_that_is_gone(paths, was_started=True), (0,))


def test_a_container_that_was_never_started_has_changed_nothing(paths):
    layer = msgspec.msgpack.decode(
        layer_jobs.pack_diff(of_a_container_that_is_gone(paths, was_started=False), (0,)), type=tasks.NewLayer
    )
    assert layer.diff_id == EMPTY_LAYER
