"""A job as its client and the process that does it speak of it: what it is, a request for it, its failure.

Not here: how processes for jobs come into being (``launcher``, ``workers``), what jobs there are (the engine).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import msgspec

from kernel_sandbox import errors
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.runtime.frames import Frame, Kind
from kernel_sandbox.spec.decoding import decodable

MAX_MESSAGE = 1 << 17
MAX_DESCRIPTORS = 16


class Job(msgspec.Struct, frozen=True):
    """Work for a process of its own: from an argument and descriptors to a result.

    ``place`` is its function's, ``module:name``; it is imported when it is first asked for.
    ``inside_store_namespace``: as root among the owners of the stored files. ``ends_with_client``: it is interrupted
    when nobody waits for its result any more. ``repeats``: it is small and leaves nothing behind, so its process may do
    another such job afterwards; only inside the store's namespace.
    """

    place: str
    inside_store_namespace: bool = True
    ends_with_client: bool = False
    repeats: bool = False

    def load(self) -> Callable[[bytes, tuple[int, ...]], bytes]:
        """The function."""
        module, _, name = self.place.partition(":")
        function: Callable[[bytes, tuple[int, ...]], bytes] = getattr(importlib.import_module(module), name)
        return function


class Request(msgspec.Struct, frozen=True):
    """The name of a job, empty to have processes get ready for one, and its argument."""

    job: str
    argument: bytes


class Failure(msgspec.Struct, frozen=True):
    """An error on its way to the client."""

    type: str
    message: str
    exit_code: int

    @classmethod
    def of(cls, error: SandboxError) -> Failure:
        return cls(type(error).__name__, str(error), error.exit_code)

    def error(self) -> SandboxError:
        """The same error, to be raised on this side."""
        kind = getattr(errors, self.type, SandboxError)
        error: SandboxError = kind(self.message)
        error.exit_code = self.exit_code
        return error

    def frame(self) -> Frame:
        return Frame(Kind.FAILED, msgspec.msgpack.encode(self))

    @classmethod
    def read(cls, frame: Frame) -> Failure:
        return msgspec.msgpack.decode(frame.payload, type=decodable(cls))
