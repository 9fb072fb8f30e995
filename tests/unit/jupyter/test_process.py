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
from kernel_sandbox.runtime.frames import Decoder, Ending, Frame, Kind, Target


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Where the monitor takes requests of other connections."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        listening.settimeout(10)
        yield listening


@pytest.fixture
def lost() -> list[bool]:
    """Filled when the monitor turns out to be gone."""
    return []


@pytest.fixture
def monitor(listener: socket.socket, lost: list[bool]) -> Iterator[tuple[socket.socket, Attachment]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, Attachment(theirs, listener.getsockname(), lambda: lost.append(True))


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


def test_a_lost_monitor_is_a_killed_kernel(monitor: tuple[socket.socket, Attachment], lost: list[bool]) -> None:
    connection, attachment = monitor
    process = KernelProcess(attachment, lambda _: None)
    connection.close()
    assert process.wait() == 128 + signal.SIGKILL
    assert lost == [True], "what is left of the container must be ended"


def test_signals_reach_the_monitor_and_after_the_end_nobody(
    monitor: tuple[socket.socket, Attachment], listener: socket.socket
) -> None:
    connection, attachment = monitor
    process = KernelProcess(attachment, lambda _: None)
    process.send_signal(signal.SIGINT)
    process.kill()
    sent: list[Frame] = []
    while len(sent) < 2:
        request, _ = listener.accept()
        with request:
            sent += Decoder().feed(request.recv(100))
    assert [(frame.kind, Target.read(frame.payload)) for frame in sent] == [
        (Kind.SIGNAL, Target((2,))),
        (Kind.SIGNAL, Target((9,))),
    ]
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
