"""Limits as control-group files, for both versions."""

import pytest

from kernel_sandbox.spec import resources
from kernel_sandbox.spec.options import Limits
from kernel_sandbox.spec.resources import Setting, settings_v1, settings_v2
from kernel_sandbox.spec.runtime import BlockIO, Cpu, Memory, Pids, Resources

MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), None),
        (Limits(pids=9), Resources(pids=Pids(9))),
        (Limits(memory=8), Resources(memory=Memory(8, swap=16))),
        (Limits(memory=8, memory_swap=-1, memory_reservation=4), Resources(memory=Memory(8, 4, -1))),
        (Limits(nano_cpus=15 * 10**8), Resources(cpu=Cpu(quota=150_000, period=100_000))),
        (Limits(cpu_period=5000, cpu_quota=2500, cpu_shares=7), Resources(cpu=Cpu(7, 2500, 5000))),
        (Limits(cpuset_cpus="0-1", cpuset_mems="0"), Resources(cpu=Cpu(cpus="0-1", mems="0"))),
        (Limits(blkio_weight=300), Resources(block_io=BlockIO(300))),
    ],
)
def test_limits_become_the_specifications_resources(limits, expected):
    assert resources.resources(limits) == expected


@pytest.mark.parametrize(
    ("wanted", "v1", "v2"),
    [
        (Resources(), {}, {}),
        (Resources(pids=Pids(9)), {"pids.max": "9"}, {"pids.max": "9"}),
        (Resources(pids=Pids(-1)), {"pids.max": "max"}, {"pids.max": "max"}),
        (
            Resources(memory=Memory(8 * MEGABYTE, 4 * MEGABYTE, 16 * MEGABYTE)),
            {
                "memory.limit_in_bytes": "8388608",
                "memory.memsw.limit_in_bytes": "16777216",
                "memory.soft_limit_in_bytes": "4194304",
            },
            {"memory.max": "8388608", "memory.swap.max": "8388608", "memory.low": "4194304"},
        ),
        (
            Resources(memory=Memory(8 * MEGABYTE, swap=-1)),
            {"memory.limit_in_bytes": "8388608", "memory.memsw.limit_in_bytes": "-1"},
            {"memory.max": "8388608", "memory.swap.max": "max"},
        ),
        (
            Resources(cpu=Cpu(1024, 50_000, 100_000, "0", "0")),
            {
                "cpu.shares": "1024",
                "cpu.cfs_period_us": "100000",
                "cpu.cfs_quota_us": "50000",
                "cpuset.cpus": "0",
                "cpuset.mems": "0",
            },
            {"cpu.weight": "39", "cpu.max": "50000 100000", "cpuset.cpus": "0", "cpuset.mems": "0"},
        ),
        (Resources(cpu=Cpu(quota=-1)), {"cpu.cfs_quota_us": "-1"}, {"cpu.max": "max 100000"}),
        (
            Resources(block_io=BlockIO(500)),
            {"blkio.weight": "500", "blkio.bfq.weight": "500"},
            {"io.bfq.weight": "500", "io.weight": "4950"},
        ),
    ],
    ids=[
        "none",
        "pids",
        "unlimited pids",
        "memory",
        "unlimited swap",
        "processors",
        "unlimited quota",
        "block devices",
    ],
)
def test_resources_become_files(wanted, v1, v2):
    assert {setting.file: setting.value for setting in settings_v1(wanted)} == v1
    assert {setting.file: setting.value for setting in settings_v2(wanted)} == v2


def test_what_a_kernel_may_not_count_is_optional():
    wanted = Resources(memory=Memory(8, swap=16), block_io=BlockIO(10))
    optional = {setting.file for setting in (*settings_v1(wanted), *settings_v2(wanted)) if setting.optional}
    memory = {"memory.memsw.limit_in_bytes", "memory.swap.max"}
    assert optional == memory | {"blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"}
    assert settings_v1(wanted)[0] == Setting("memory", "memory.limit_in_bytes", "8")


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (1, 1), (999999, 10000)])
def test_shares_become_weights(shares, weight):
    assert resources.cpu_weight(shares) == weight
