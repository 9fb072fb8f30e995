"""The same numbers are read from control groups of both versions."""

import os

import pytest

from kernel_sandbox.runtime.statistics import usage

V1 = {
    "cpuacct.usage": "5000000\n",
    "cpu.stat": "nr_periods 0\nnr_throttled 0\n",
    "memory.usage_in_bytes": "9000\n",
    "memory.limit_in_bytes": "64000\n",
    "memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
    "pids.current": "3\n",
    "blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n8:16 Read 1\nTotal 31\n",
}
V2 = {
    "cpu.stat": "usage_usec 5000\nuser_usec 1000\n",
    "memory.current": "9000\n",
    "memory.max": "64000\n",
    "memory.stat": "anon 7000\ninactive_file 2000\n",
    "pids.current": "3\n",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=0 rios=1\n",
}


def group(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return str(tmp_path)


@pytest.mark.parametrize("files", [V1, V2], ids=["v1", "v2"])
def test_both_versions_say_the_same(tmp_path, files):
    found = usage(os.getpid(), [group(tmp_path, files)], own_network=False)
    assert (found.cpu, found.memory, found.memory_limit, found.pids) == (5_000_000, 7000, 64000, 3)
    assert (found.read, found.written, found.received, found.sent) == (11, 20, 0, 0)


def test_v1_controllers_may_be_in_groups_of_their_own(tmp_path):
    groups = []
    for name, text in V1.items():
        (tmp_path / name[:3]).mkdir(exist_ok=True)
        groups.append(group(tmp_path / name[:3], {name: text}))
    found = usage(os.getpid(), groups, own_network=False)
    assert (found.cpu, found.memory, found.pids, found.read) == (5_000_000, 7000, 3, 11)


@pytest.mark.parametrize("files", [{"memory.max": "max\n"}, {"memory.limit_in_bytes": "9223372036854771712\n"}])
def test_without_a_limit_it_is_the_machine_memory(tmp_path, files):
    group(tmp_path, {**V2, **files} if "memory.max" in files else {**V1, **files})
    found = usage(os.getpid(), [str(tmp_path)], own_network=False)
    assert found.memory_limit == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_without_control_groups_the_processes_are_added_up():
    found = usage(os.getpid(), [], own_network=True)
    assert found.cpu > 0
    assert found.memory > 1 << 20
    assert found.pids >= 1


def test_a_container_that_has_ended_uses_nothing():
    found = usage(2**22 + 1, ["/sys/fs/cgroup/nosuch"], own_network=True)
    assert (found.cpu, found.memory, found.pids, found.received) == (0, 0, 0, 0)
