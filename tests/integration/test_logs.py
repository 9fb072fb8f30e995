"""``logs`` shows what a container has written: all of it, its last lines, a stretch of time, or as it comes."""

import hashlib
import os
import re
import signal
import time
from datetime import UTC, datetime

import pytest
from support.containers import complaint
from support.store import Store
from support.waiting import wait_until

pytestmark = pytest.mark.same_for_every_user

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"


def run_detached(store: Store, name: str, script: str, *flags: str) -> str:
    return store.cli("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", script, check=True).stdout.strip()


def run_to_its_end(store: Store, name: str, script: str, *flags: str) -> None:
    run_detached(store, name, script, *flags)
    store.cli("wait", name, check=True)


def log_files(store: Store, id_: str) -> list[str]:
    return sorted(os.listdir(store.home / "containers" / id_ / "logs"))


@pytest.fixture
def three_lines(shared_store, name):
    """A container that has written three lines, one on standard error, the last without an end."""
    run_to_its_end(shared_store, name, "echo one; sleep 0.1; echo two >&2; sleep 0.1; printf three")
    return name


def test_both_streams_stay_apart(cli, three_lines):
    done = cli("logs", three_lines)
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\nthree", "two\n")


@pytest.mark.parametrize(
    ("tail", "stdout", "stderr"),
    [
        ("0", "", ""), ("1", "three", ""), ("2", "three", "two\n"), ("3", "one\nthree", "two\n"),
        ("99", "one\nthree", "two\n"), ("all", "one\nthree", "two\n"), ("-1", "one\nthree", "two\n"),
        ("x", "one\nthree", "two\n"), ("9" * 30, "one\nthree", "two\n"),
    ],
)  # fmt: skip
def test_the_tail_counts_the_lines_of_both_streams(cli, three_lines, tail, stdout, stderr):
    done = cli("logs", "--tail", tail, three_lines)
    assert (done.stdout, done.stderr) == (stdout, stderr)


def test_each_line_can_have_its_time_before_it(cli, three_lines):
    done = cli("logs", "-t", three_lines)
    assert re.fullmatch(rf"{STAMP} one\n{STAMP} three", done.stdout)
    assert re.fullmatch(rf"{STAMP} two\n", done.stderr)
    first = datetime.fromisoformat(done.stdout.split()[0])
    assert abs((datetime.now(UTC) - first).total_seconds()) < 60


def test_times_are_those_at_which_the_lines_came(cli, shared_store, name):
    run_to_its_end(shared_store, name, "printf 'a\\nb\\n'; sleep 0.5; printf c; sleep 0.5; echo d")
    times = [line.split() for line in cli("logs", "-t", name).stdout.splitlines()]
    assert [text for _, text in times] == ["a", "b", "cd"]
    assert times[0][0] == times[1][0]
    apart = datetime.fromisoformat(times[2][0]) - datetime.fromisoformat(times[1][0])
    assert 0.4 < apart.total_seconds() < 0.9


def test_details_without_any_are_a_space(cli, three_lines):
    assert cli("logs", "--details", three_lines).stdout == " one\n three"
    assert re.fullmatch(rf"{STAMP}  three", cli("logs", "--details", "-t", "-n", "1", three_lines).stdout)


def test_since_and_until_choose_a_stretch_of_time(cli, shared_store, name):
    run_to_its_end(shared_store, name, "echo a; sleep 0.2; echo b; sleep 0.2; echo c")
    stamps = {line.split()[1]: line.split()[0] for line in cli("logs", "-t", name).stdout.splitlines()}
    assert cli("logs", "--since", stamps["b"], name).stdout == "b\nc\n"
    assert cli("logs", "--until", stamps["b"], name).stdout == "a\nb\n"
    assert cli("logs", "--since", stamps["b"], "--until", stamps["b"], name).stdout == "b\n"
    assert cli("logs", "--tail", "1", "--until", stamps["b"], name).stdout == ""
    assert cli("logs", "--since", "10m", name).stdout == "a\nb\nc\n"
    assert cli("logs", "--until", "10m", name).stdout == ""
    assert cli("logs", "--since", str(int(time.time()) - 600), name).stdout == "a\nb\nc\n"
    assert cli("logs", "--since", "2999-01-01", name).stdout == ""


def test_a_time_that_is_none_is_refused_in_docker_words(cli, three_lines):
    for flag in ("since", "until"):
        assert complaint(cli("logs", f"--{flag}", "foo", three_lines), 1) == (
            f'invalid value for "{flag}": failed to parse value as time or duration: "foo"'
        )
    assert complaint(cli("logs", "--since", "foo", "nosuch"), 1) == "No such container: nosuch"


def test_a_container_that_never_ran_has_no_log(cli, name):
    cli("create", "--name", name, "busybox", "true", check=True)
    for flags in ((), ("-f",), ("--tail", "3"), ("--since", "1h", "-t")):
        done = cli("logs", *flags, name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_runs_are_in_the_log(cli, shared_store, name):
    run_to_its_end(shared_store, name, "printf again")
    cli("start", name, check=True)
    cli("wait", name)
    assert cli("logs", name).stdout == "againagain"
    assert cli("logs", "--tail", "1", name).stdout == "again"


def test_following_ends_with_the_container_and_misses_nothing(cli, shared_store, name):
    run_detached(shared_store, name, "for i in 1 2 3 4; do echo $i; sleep 0.2; done")
    done = cli("logs", "-f", name, timeout=20)
    assert (done.returncode, done.stdout) == (0, "1\n2\n3\n4\n")


def test_following_begins_at_the_tail(cli, shared_store, name):
    run_detached(shared_store, name, "echo 1; echo 2; read x; echo 3", "-i")
    wait_until(lambda: cli("logs", name).stdout == "1\n2\n")
    follower = shared_store.start("logs", "-f", "--tail", "1", "-t", name)
    assert follower.stdout.readline().split()[1] == b"2"
    cli("stop", "-t", "0", name)
    assert follower.communicate(timeout=10)[0] == b""


def test_following_ends_at_the_time_until_which_it_was_asked(cli, shared_store, name):
    run_detached(shared_store, name, "echo up; sleep 60")
    wait_until(lambda: cli("logs", name).stdout)
    start = time.monotonic()
    done = cli("logs", "-f", "--until", f"{time.time() + 1.5:.3f}", name, timeout=20)
    assert (done.returncode, done.stdout) == (0, "up\n")
    assert 1 < time.monotonic() - start < 10


def test_an_interrupt_ends_following_and_not_the_container(cli, shared_store, name):
    run_detached(shared_store, name, "echo up; sleep 60")
    follower = shared_store.start("logs", "-f", name)
    assert follower.stdout.readline() == b"up\n"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    assert b"Traceback" not in follower.communicate()[1]
    assert name in cli("ps", "--format", "{{.Names}}").stdout


def test_the_log_keeps_to_its_size_and_shows_the_end(cli, shared_store, name):
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"
    run_to_its_end(shared_store, name, script, "--log-opt", "max-size=4k", "--log-opt", "max-file=3")
    id_ = cli("inspect", "-f", "{{.Id}}", name).stdout.strip()
    assert len(log_files(shared_store, id_)) == 3
    lines = cli("logs", name).stdout.splitlines()
    assert lines[-1] == "line 2999"
    assert lines == [f"line {number}" for number in range(3000 - len(lines), 3000)]
    assert 3000 < sum(len(line) + 1 for line in lines) < 3 * 5000
    assert cli("logs", "--tail", "5", name).stdout.splitlines() == lines[-5:]


def test_the_log_keeps_to_its_size_from_one_run_to_the_next(cli, shared_store, name):
    run_to_its_end(shared_store, name, "seq 1000", "--log-opt", "max-size=1k", "--log-opt", "max-file=2")
    cli("start", name, check=True)
    cli("wait", name)
    id_ = cli("inspect", "-f", "{{.Id}}", name).stdout.strip()
    assert len(log_files(shared_store, id_)) == 2
    assert cli("logs", "--tail", "2", name).stdout == "999\n1000\n"


def test_nothing_is_lost_in_the_foreground_though_the_log_is_smaller(cli):
    done = cli("run", "--rm", "--log-opt", "max-size=10k", "busybox", "seq", "200000", timeout=60)
    assert (
        hashlib.sha256(done.stdout.encode()).digest()
        == hashlib.sha256("".join(f"{number}\n" for number in range(1, 200001)).encode()).digest()
    )


def test_a_reader_that_falls_behind_a_rotating_log_loses_nothing(shared_store):
    flags = ("--log-opt", "max-size=64k", "--log-opt", "max-file=2")
    process = shared_store.start("run", "--rm", *flags, "busybox", "seq", "2000000")
    time.sleep(1.5)
    digest = hashlib.sha256()
    while data := os.read(process.stdout.fileno(), 1 << 20):
        digest.update(data)
    assert process.wait(10) == 0
    process.communicate()
    expected = hashlib.sha256()
    for start in range(1, 2000001, 1000):
        expected.update("".join(f"{number}\n" for number in range(start, start + 1000)).encode())
    assert digest.digest() == expected.digest()


def test_a_follower_that_stood_still_gets_everything_and_the_disk_is_given_back_then(cli, shared_store, name):
    flags = ("--log-opt", "max-size=64k", "--log-opt", "max-file=2")
    wait = "go=; trap go=1 USR1; until [ $go ]; do sleep 0.1; done; "
    id_ = run_detached(shared_store, name, f"echo up; {wait}seq 300000; {wait}seq 30000; sleep 60", *flags)
    follower = shared_store.start("logs", "-f", name)
    try:
        assert follower.stdout.readline() == b"up\n"
        follower.send_signal(signal.SIGSTOP)
        cli("kill", "-s", "USR1", name, check=True)
        wait_until(lambda: cli("logs", "--tail", "1", name).stdout == "300000\n", timeout=30)
        follower.send_signal(signal.SIGCONT)
        for number in range(1, 300001):
            assert follower.stdout.readline() == b"%d\n" % number
        cli("kill", "-s", "USR1", name, check=True)
        for number in range(1, 30001):
            assert follower.stdout.readline() == b"%d\n" % number
        cli("kill", name)
        assert follower.communicate(timeout=20)[0] == b""
    finally:
        follower.kill()
    assert len(log_files(shared_store, id_)) <= 2


def test_output_of_a_hundred_megabytes_is_shown_and_its_tail_at_once(cli, shared_store, name):
    size = 100_000_000
    run_to_its_end(shared_store, name, f"yes 0123456789abcde | head -c {size}")
    start = time.monotonic()
    done = cli("logs", name, text=False, timeout=60)
    assert len(done.stdout) == size
    whole = time.monotonic() - start
    start = time.monotonic()
    assert cli("logs", "--tail", "3", name).stdout == "0123456789abcde\n" * 3
    assert time.monotonic() - start < max(2.0, whole)


def test_a_container_that_keeps_no_log_says_so_and_loses_nothing_in_the_foreground(cli, shared_store, name):
    done = cli("run", "--name", name, "--log-driver", "none", "busybox", "seq", "300000")
    assert done.stdout.splitlines()[::299999] == ["1", "300000"]
    assert complaint(cli("logs", name), 1) == "configured logging driver does not support reading"
