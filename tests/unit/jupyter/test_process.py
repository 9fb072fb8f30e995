"""A container as a process: how its end, its output and its signals look to jupyter_client."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from support.waiting import wait_until

from kernel_sandbox.engine.attachment import Attachment
from kernel_sandbox.jupyter.process import KernelProcess
from kernel_sandbox.runtime.frames import Decoder, Ending, Frame, Kind


@pytest.fixture
def monitor() -> Iterator[tuple[socket.socket, Attachment]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, Attachment(theirs)


def end(connection: socket.socket, ending: Ending) -> None:
    connection.sendall(Frame(Kind.EXITED, msgspec.msgpack.encode(ending)).encode())


def test_it_runs_until_the_monitor_tells_its_end(monitor: tuple[socket.socket, Attachment]) -> None:
    connection, attachment = monitor
    endings: list[Ending] = []
    process = KernelProcess(attachment, endings.append)
    assert process.poll() is None
    end(connection, Ending(3, False))
    assert process.wait() == process.poll() == 3
    assert process.wait() == 3
    assert endings == [Ending(3, False)]


def test_a_lost_monitor_is_a_killed_kernel(monitor: tuple[socket.socket, Attachment]) -> None:
    connection, attachment = monitor
    process = KernelProcess(attachment, lambda _: None)
    connection.close()
    assert process.wait() == 128 + signal.SIGKILL


def test_signals_reach_the_monitor_and_after_the_end_nobody(monitor: tuple[socket.socket, Attachment]) -> None:
    connection, attachment = monitor
    process = KernelProcess(attachment, lambda _: None)
    process.send_signal(signal.SIGINT)
    process.kill()
    decoder = Decoder()
    sent: list[Frame] = []
    while len(sent) < 2:
        sent += decoder.feed(connection.recv(100))
    assert [(frame.kind, frame.payload) for frame in sent] == [(Kind.SIGNAL, b"2"), (Kind.SIGNAL, b"9")]
    end(connection, Ending(0, False))
    process.wait()
    process.terminate()


def test_output_goes_where_it_is_sent(monitor: tuple[socket.socket, Attachment], tmp_path: Path) -> None:
    connection, attachment = monitor
    with open(tmp_path / "log", "wb") as log:
        process = KernelProcess(attachment, lambda _: None, stdout=subprocess.PIPE, stderr=log)
    connection.sendall(Frame(Kind.STDOUT, b"out").encode() + Frame(Kind.STDERR, b"err").encode())
    end(connection, Ending(0, False))
    process.wait()
    assert process.stdout is not None
    assert process.stdout.read() == b"out"
    assert (tmp_path / "log").read_bytes() == b"err"
    process.stdout.close()


def test_output_that_nobody_takes_is_dropped(monitor: tuple[socket.socket, Attachment]) -> None:
    connection, attachment = monitor
    reader, writer = os.pipe()
    process = KernelProcess(attachment, lambda _: None, stdout=writer, stderr=subprocess.STDOUT)
    os.close(reader)
    os.close(writer)
    connection.sendall(Frame(Kind.STDOUT, b"out").encode() + Frame(Kind.STDERR, b"err").encode())
    end(connection, Ending(0, False))
    wait_until(lambda: process.poll() == 0)
    process.wait()
