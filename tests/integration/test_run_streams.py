"""``run`` carries bytes between the caller and the command, unchanged and apart."""

import hashlib
import os
import random
import select
import subprocess

from support.store import COMMAND
from support.waiting import wait_until


def test_standard_output_and_standard_error_stay_apart(cli):
    done = cli("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")


def test_output_without_a_last_newline_arrives_as_it_is(cli):
    assert cli("run", "--rm", "busybox", "printf", r"a\0b\377", text=False).stdout == b"a\0b\xff"


def test_without_i_standard_input_is_empty(cli):
    assert cli("run", "--rm", "busybox", "cat", input="not for the container").stdout == ""


def test_with_i_binary_input_arrives_unchanged(cli):
    data = random.Random(2).randbytes(3_000_001)
    done = cli("run", "--rm", "-i", "busybox", "sha256sum", input=data, text=False)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_binary_input_comes_back_unchanged_through_cat(cli):
    data = random.Random(3).randbytes(2_000_003)
    assert cli("run", "--rm", "-i", "busybox", "cat", input=data, text=False).stdout == data


def test_fifty_megabytes_of_output_all_arrive(cli):
    size = 50_000_000
    script = f"head -c {size} /dev/zero | tr '\\0' x"
    done = cli("run", "--rm", "busybox", "sh", "-c", script, text=False)
    assert len(done.stdout) == size
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(b"x" * size).digest()


def test_input_that_the_command_does_not_read_does_not_hold_it_up(cli):
    done = cli("run", "--rm", "-i", "busybox", "true", input=bytes(5_000_000), text=False, timeout=20)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_that_goes_away_ends_the_command(shared_store, name):
    process = shared_store.start("run", "--rm", "--name", name, "busybox", "yes")
    assert process.stdout and process.stderr
    assert process.stdout.read(4) == b"y\ny\n"
    process.stdout.close()
    assert process.wait(20) != 0
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_a_closed_standard_input_is_an_empty_one(shared_store):
    script = f"exec {COMMAND} run --rm -i busybox sh -c 'cat; echo ok' <&-"
    done = subprocess.run(["sh", "-c", script], env=shared_store.environ(), capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ok\n", b"")


def test_output_arrives_while_the_command_runs(shared_store):
    script = "echo first; read line; echo second"
    reader, writer = os.pipe()
    process = shared_store.start("run", "--rm", "-i", "busybox", "sh", "-c", script, stdin=reader)
    os.close(reader)
    assert process.stdout
    assert process.stdout.readline() == b"first\n"
    os.write(writer, b"go\n")
    assert process.stdout.readline() == b"second\n"
    os.close(writer)
    assert process.wait(10) == 0
    process.communicate()


def test_a_reader_that_made_the_pipe_nonblocking_loses_nothing(shared_store):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = shared_store.start("run", "--rm", "busybox", "seq", "1", "60000", stdout=writer)
    os.close(writer)
    wait_until(lambda: len(select.select([reader], [], [], 0)[0]))
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"".join(b"%d\n" % number for number in range(1, 60001))
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, b"")
