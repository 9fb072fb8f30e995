"""Limits that exclude each other or are beyond the machine, and what ``update`` makes of them."""

import pytest

from kernel_sandbox.errors import Conflict, UsageError
from kernel_sandbox.spec import limits
from kernel_sandbox.spec.options import Limits

MACHINE = limits.Machine(2, "0-1", "0")
MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ({"memory": 5 * MEGABYTE}, "Minimum memory limit allowed is 6MB"),
        ({"memory": 64 * MEGABYTE, "memory_swap": 32 * MEGABYTE}, "memoryswap limit should be larger than memory"),
        ({"memory_swap": 64 * MEGABYTE}, "You should always set the Memory limit when using Memoryswap"),
        ({"memory_reservation": MEGABYTE}, "Minimum memory reservation allowed is 6MB"),
        ({"memory": 64 * MEGABYTE, "memory_reservation": 65 * MEGABYTE}, "can not be less than memory reservation"),
        ({"nano_cpus": 3 * 10**9}, "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        ({"nano_cpus": -1}, "Range of CPUs"),
        ({"nano_cpus": 1, "cpu_quota": 1000}, "Nano CPUs and CPU Quota cannot both be set"),
        ({"nano_cpus": 1, "cpu_period": 1000}, "Nano CPUs and CPU Period cannot both be set"),
        ({"cpu_period": 10}, "CPU cfs period can not be less than 1ms"),
        ({"cpu_quota": 10}, "CPU cfs quota can not be less than 1ms"),
        ({"cpu_shares": -1}, "shares"),
        ({"cpuset_cpus": "99"}, "Requested CPUs are not available - requested 99, available: 0-1"),
        ({"cpuset_cpus": "x"}, "Invalid value x for cpuset cpus: invalid format: x"),
        ({"cpuset_cpus": "1-0"}, "invalid format: 1-0"),
        ({"cpuset_cpus": "0-99999999"}, "invalid format"),
        ({"cpuset_mems": "5"}, "Requested memory nodes are not available - requested 5, available: 0"),
        ({"blkio_weight": 5}, "Range of blkio weight is from 10 to 1000"),
    ],
)
def test_refused(wanted, complaint):
    with pytest.raises(UsageError, match=complaint):
        limits.check(Limits(**wanted), MACHINE)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"memory": 6 * MEGABYTE, "memory_swap": -1},
        {"memory": 6 * MEGABYTE, "memory_swap": 6 * MEGABYTE, "memory_reservation": 6 * MEGABYTE},
        {"nano_cpus": 2 * 10**9, "cpu_shares": 2, "cpuset_cpus": "0,1", "cpuset_mems": "0"},
        {"cpu_period": 1000, "cpu_quota": 1000, "blkio_weight": 10, "pids": 1},
        {"cpu_quota": -1},
    ],
)
def test_accepted(wanted):
    limits.check(Limits(**wanted), MACHINE)


def test_lists_of_numbers():
    assert limits.numbers("0-2,4") == {0, 1, 2, 4}
    assert limits.numbers("") == set()


def test_swap_is_as_much_again_as_memory():
    assert limits.complete(Limits(memory=8)).memory_swap == 16
    assert limits.complete(Limits(memory=8, memory_swap=-1)).memory_swap == -1
    assert limits.complete(Limits()).memory_swap is None


def test_an_update_changes_what_it_names():
    present = Limits(memory=64, pids=5, cpuset_cpus="0")
    assert limits.updated(present, Limits(memory=128)) == Limits(memory=128, memory_swap=128, pids=5, cpuset_cpus="0")
    assert limits.updated(present, Limits(pids=-1)).pids == -1
    assert limits.updated(present, Limits(cpuset_cpus="0-1", blkio_weight=9)) == Limits(
        memory=64, memory_swap=128, pids=5, cpuset_cpus="0-1", blkio_weight=9
    )


@pytest.mark.parametrize(
    ("present", "wanted", "complaint"),
    [
        ({}, {"memory": 64}, "smaller than already set memoryswap"),
        ({"memory": 64}, {"memory": 129}, "smaller than already set memoryswap"),
        ({"nano_cpus": 1}, {"cpu_period": 1000}, "CPU Period cannot be updated as NanoCPUs has already been set"),
        ({"nano_cpus": 1}, {"cpu_quota": 1000}, "CPU Quota cannot be updated as NanoCPUs has already been set"),
        ({"cpu_quota": 1000}, {"nano_cpus": 1}, "Nano CPUs cannot be updated as CPU Quota has already been set"),
        ({"cpu_period": 1000}, {"nano_cpus": 1}, "Nano CPUs cannot be updated as CPU Period has already been set"),
    ],
)
def test_an_update_that_contradicts_what_is_set(present, wanted, complaint):
    with pytest.raises(Conflict, match=complaint):
        limits.updated(Limits(**present), Limits(**wanted))
