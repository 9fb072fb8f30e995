"""A running container's health check: executed inside at its times, its outcomes told to whoever keeps them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import msgspec

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.runtime.executions import Executions
from kernel_sandbox.runtime.frames import Execution, Frame
from kernel_sandbox.runtime.loop import Loop, Timer
from kernel_sandbox.spec import health
from kernel_sandbox.spec.health import Health, HealthResult
from kernel_sandbox.spec.image import Healthcheck
from kernel_sandbox.spec.runtime import Process
from kernel_sandbox.spec.times import duration

_MOST_OUTPUT = 4096
_SECOND = 10**9
_NOT_IN_TIME = -1


class HealthMonitor:
    """Checks for one run of a container. *process* is the check as a process, *tell* gets each new health."""

    def __init__(
        self,
        loop: Loop,
        executions: Executions,
        check: Healthcheck,
        process: Process,
        tell: Callable[[Health], object],
    ) -> None:
        self._loop = loop
        self._executions = executions
        self._check = check
        self._process = process
        self._tell = tell
        self._health = Health()
        self._started = time.time_ns()
        self._timer: Timer | None = None
        self._has_ended = False
        tell(self._health)
        self._schedule()

    def stop(self) -> None:
        """The container has ended."""
        self._has_ended = True
        if self._timer:
            self._timer.cancel()

    def _schedule(self) -> None:
        if not self._has_ended:
            self._timer = self._loop.after(health.interval(self._check) / _SECOND, self._probe)

    def _probe(self) -> None:
        """One check; it is ended when its time is over."""
        id_ = os.urandom(32).hex()
        start = time.time_ns()
        output = bytearray()
        late: list[bool] = []

        def take(frame: Frame) -> None:
            output.extend(frame.payload[: _MOST_OUTPUT - len(output)])

        def end_it() -> None:
            late.append(True)
            self._executions.kill(id_)

        timer = self._loop.after(health.timeout(self._check) / _SECOND, end_it)

        def done(code: int) -> None:
            timer.cancel()
            text = output.decode(errors="replace")
            if late:
                limit = duration(health.timeout(self._check))
                code, text = _NOT_IN_TIME, f"Health check exceeded timeout ({limit})" + (f": {text}" if text else "")
            self._conclude(HealthResult(start, time.time_ns(), code, text))

        try:
            self._executions.run(Execution(id_, self._process, keeps_stdin=False, detached=True), take, done)
        except SandboxError as error:
            timer.cancel()
            self._conclude(HealthResult(start, time.time_ns(), _NOT_IN_TIME, str(error)))

    def _conclude(self, result: HealthResult) -> None:
        if self._has_ended:
            return
        self._health = health.after(self._health, result, self._check, self._started)
        self._tell(self._health)
        self._schedule()


def as_process(check: Healthcheck, shell: tuple[str, ...], container: Process) -> Process:
    """The check as a process like the container's first one, without a terminal."""
    return msgspec.structs.replace(container, args=health.command(check, shell), terminal=False, console_size=None)
