"""A delegated control group from the user's own systemd (org.freedesktop.systemd1(5), systemd.resource-control(5)).

An ordinary user's processes lie in groups that root owns; only systemd can move one into a group of the user's.
"""

from __future__ import annotations

import os
import time

from kernel_sandbox.errors import HostError

_SECONDS = 10.0


def is_reachable() -> bool:
    """Whether the caller has a user manager to ask."""
    return os.path.exists(_socket())


def _socket() -> str:
    return os.path.join(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "bus")


def move_into_own_scope(unit: str, unified: str) -> str:
    """Move the calling process into a new transient scope, delegated to the user; returns the scope's directory.

    The scope goes when its last process has. Raises HostError where systemd refuses.
    """
    import asyncio

    try:
        asyncio.run(asyncio.wait_for(_start_scope(unit), _SECONDS))
    except Exception as error:
        raise HostError(f"systemd gives no control group ({error}): run without the limit, or as root") from error
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        with open("/proc/self/cgroup") as file:
            own = next((line[3:].strip() for line in file if line.startswith("0::")), "")
        if unit in own:
            return f"{unified}{own}"
        time.sleep(0.005)
    raise HostError("systemd did not move the container into its control group: run without the limit, or as root")


async def _start_scope(unit: str) -> None:
    from dbus_fast import Message, MessageType, Variant
    from dbus_fast.aio import MessageBus

    properties = [
        ["Description", Variant("s", "kernel-sandbox container")],
        ["Delegate", Variant("b", True)],
        ["CollectMode", Variant("s", "inactive-or-failed")],
        ["PIDs", Variant("au", [os.getpid()])],
    ]
    bus = await MessageBus(bus_address=f"unix:path={_socket()}").connect()
    try:
        reply = await bus.call(
            Message(
                destination="org.freedesktop.systemd1",
                path="/org/freedesktop/systemd1",
                interface="org.freedesktop.systemd1.Manager",
                member="StartTransientUnit",
                signature="ssa(sv)a(sa(sv))",
                body=[unit, "fail", properties, []],
            )
        )
    finally:
        bus.disconnect()
    if reply is None or reply.message_type is MessageType.ERROR:
        raise HostError(str(reply.body[0]) if reply and reply.body else "no answer")
