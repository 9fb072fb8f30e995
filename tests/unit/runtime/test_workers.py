"""Jobs in processes of their own: which process does one, and what becomes of it."""

import contextlib
import os
import select
import signal
import time
from pathlib import Path

import pytest

from kernel_sandbox.errors import Conflict, HostError, SandboxError
from kernel_sandbox.runtime.job import Job
from kernel_sandbox.runtime.launcher import Call, ForkLauncher, call


def pid(argument, descriptors):
    return str(os.getpid()).encode()


def wait_for_file(argument, descriptors):
    while not os.path.exists(argument):
        time.sleep(0.005)
    return pid(argument, descriptors)


def refuse(argument, descriptors):
    raise Conflict(f"refused by {os.getpid()}")


def fail(argument, descriptors):
    raise RuntimeError("a mistake of ours")


JOBS = {
    "small": Job(f"{__name__}:pid", repeats=True),
    "large": Job(f"{__name__}:pid"),
    "waiting": Job(f"{__name__}:wait_for_file", repeats=True, ends_with_client=True),
    "refuse": Job(f"{__name__}:refuse", repeats=True),
    "fail": Job(f"{__name__}:fail", repeats=True),
}


@pytest.fixture
def launcher():
    launcher = ForkLauncher(JOBS, lambda: None)
    launcher.start()
    yield launcher
    launcher.close()


def process_of(launcher, job):
    return int(call(launcher, job, b""))


def ends(process, seconds=10):
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def test_small_jobs_are_done_by_one_process_after_the_other(launcher):
    assert len({process_of(launcher, "small") for _ in range(20)}) == 1


def test_any_other_job_has_a_process_of_its_own(launcher):
    small = process_of(launcher, "small")
    assert len({small, *(process_of(launcher, "large") for _ in range(3))}) == 4
    assert process_of(launcher, "small") == small


def test_small_jobs_at_once_do_not_wait_for_each_other(launcher, tmp_path):
    go = tmp_path / "go"
    with Call(launcher, "waiting", os.fsencode(go)) as one, Call(launcher, "waiting", os.fsencode(go)) as other:
        third = process_of(launcher, "small")
        go.touch()
        assert len({int(one.result()), int(other.result()), third}) == 3


def test_who_fails_does_no_other_job(launcher):
    with pytest.raises(Conflict, match="refused") as refused:
        call(launcher, "refuse", b"")
    assert str(process_of(launcher, "small")) not in str(refused.value)
    with pytest.raises(HostError, match="a mistake of ours"):
        call(launcher, "fail", b"")
    assert process_of(launcher, "small")


def test_a_job_whose_client_has_gone_ends_with_its_process(launcher, tmp_path):
    resting = process_of(launcher, "small")
    descriptor = os.pidfd_open(resting)
    with pytest.raises(SandboxError, match="given up"), Call(launcher, "waiting", os.fsencode(tmp_path / "never")):
        raise SandboxError("given up")
    assert ends(descriptor)
    os.close(descriptor)
    assert process_of(launcher, "small") != resting


def test_a_process_that_is_killed_while_it_rests_is_not_missed(launcher):
    for _ in range(5):
        killed = os.pidfd_open(process_of(launcher, "small"))
        signal.pidfd_send_signal(killed, signal.SIGKILL)
        assert ends(killed)
        os.close(killed)
        with contextlib.suppress(HostError):  # an ordinary user's has a parent, which ends a moment later
            process_of(launcher, "small")
        assert process_of(launcher, "small")


def test_no_process_outlives_the_client(launcher):
    descriptor = os.pidfd_open(process_of(launcher, "small"))
    launcher.close()
    assert ends(descriptor)
    os.close(descriptor)


def test_a_job_leaves_no_descriptors_behind(launcher):
    descriptors = Path(f"/proc/{process_of(launcher, 'small')}/fd")
    before = len(os.listdir(descriptors))
    for _ in range(20):
        process_of(launcher, "small")
    assert len(os.listdir(descriptors)) <= before + 1  # the last answer's, which may not be closed yet
