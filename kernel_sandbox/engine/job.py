"""A job as a function of values: what it is asked and what it answers cross between processes as msgpack documents."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

import msgspec

from kernel_sandbox.engine import locks
from kernel_sandbox.engine.tasks import InStore, encode
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.storage.staging import store_errors

A = TypeVar("A", bound=InStore)
Work = Callable[[A, tuple[int, ...]], object]


def job(type_: type[A], adds: bool = False) -> Callable[[Work[A]], Callable[[bytes, tuple[int, ...]], bytes]]:
    """Makes a function of a task and descriptors, of which the first is the socket for its answer, a job's function.

    One that *adds* blobs or layers keeps anything from being collected, as its client does, which may be killed.
    """

    decoder = msgspec.msgpack.Decoder(decodable(type_))

    def wrapped(work: Work[A]) -> Callable[[bytes, tuple[int, ...]], bytes]:
        def run(argument: bytes, descriptors: tuple[int, ...]) -> bytes:
            task = decoder.decode(argument)
            with store_errors(task.home), locks.shared(task.paths.lock) if adds else contextlib.nullcontext():
                return encode(work(task, descriptors))

        return run

    return wrapped
