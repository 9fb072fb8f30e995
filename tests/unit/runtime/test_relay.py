"""Who has reached a container's monitor learns of its end."""

import contextlib

from kernel_sandbox.runtime import sessions
from kernel_sandbox.runtime.frames import Decoder, Frame, Kind
from kernel_sandbox.runtime.log import LogWriter
from kernel_sandbox.runtime.loop import Loop
from kernel_sandbox.runtime.relay import Relay


def test_a_client_that_comes_as_the_container_ends_is_told_how(tmp_path):
    path = str(tmp_path / "socket")
    with contextlib.ExitStack() as stack:
        loop = stack.enter_context(contextlib.closing(Loop()))
        log = stack.enter_context(contextlib.closing(LogWriter(str(tmp_path / "log"))))
        relay = stack.enter_context(contextlib.closing(Relay(loop, log, path, print, print)))
        late = stack.enter_context(sessions.connect(path))
        relay.stop_listening()
        relay.conclude(Frame(Kind.EXITED, b"how"))
        relay.finish()
        late.settimeout(5)
        assert [(frame.kind, frame.payload) for frame in Decoder().feed(late.recv(100))] == [(Kind.EXITED, b"how")]
        assert late.recv(100) == b""
    assert not (tmp_path / "socket").exists()
