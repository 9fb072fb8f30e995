"""The two situations in which layers are unpacked and packed: as real root, and as uid 0 of a user namespace.

``run`` calls a function there in a process of its own, as the engine does, and hands back its result or error.
"""

import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kernel_sandbox.linux import syscalls
from kernel_sandbox.storage.ownership import Ownership


@dataclass(frozen=True)
class World:
    name: str
    ownership: Ownership

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _answer(writer, self.ownership, function, arguments)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(pid, 0)
        succeeded, value = pickle.loads(answer)
        if not succeeded:
            raise value
        return value


def _answer(writer: int, ownership: Ownership, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        if ownership is Ownership.SINGLE:
            _enter_user_namespace()
        answer = (True, function(*arguments))
    except BaseException as error:
        answer = (False, error)
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(pickle.dumps(answer))
    sys.stdout.flush()
    os._exit(0)


def _enter_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


SINGLE = World("user namespace", Ownership.SINGLE)
ROOT = World("root", Ownership.REAL)
WORLDS = (ROOT, SINGLE)
