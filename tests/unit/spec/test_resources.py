"""Limits as control-group files, for both versions."""

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.resources import Setting, checked_memory, settings_v1, settings_v2
from kernel_sandbox.spec.runtime import Memory, Pids, Resources

MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("resources", "v1", "v2"),
    [
        (Resources(), (), ()),
        (Resources(pids=Pids(9)), (Setting("pids", "pids.max", "9"),), (Setting("pids", "pids.max", "9"),)),
        (
            Resources(memory=Memory(8 * MEGABYTE)),
            (
                Setting("memory", "memory.limit_in_bytes", "8388608"),
                Setting("memory", "memory.memsw.limit_in_bytes", "16777216", optional=True),
            ),
            (
                Setting("memory", "memory.max", "8388608"),
                Setting("memory", "memory.swap.max", "8388608", optional=True),
            ),
        ),
        (
            Resources(memory=Memory(8 * MEGABYTE, swap=-1)),
            (
                Setting("memory", "memory.limit_in_bytes", "8388608"),
                Setting("memory", "memory.memsw.limit_in_bytes", "-1", optional=True),
            ),
            (Setting("memory", "memory.max", "8388608"), Setting("memory", "memory.swap.max", "max", optional=True)),
        ),
    ],
    ids=["none", "pids", "memory", "unlimited swap"],
)
def test_limits_become_files(resources, v1, v2):
    assert settings_v1(resources) == v1
    assert settings_v2(resources) == v2


def test_six_megabytes_are_the_least():
    assert checked_memory(6 * MEGABYTE) == 6 * MEGABYTE
    with pytest.raises(UsageError, match="6MB"):
        checked_memory(6 * MEGABYTE - 1)
