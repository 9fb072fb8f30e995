"""Locks between processes (flock(2)): they go with their holder, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from kernel_sandbox.storage.staging import store_errors, try_lock

_ATTEMPTS = 100
_PAUSE = 0.005


@contextlib.contextmanager
def shared(path: str) -> Iterator[None]:
    """Hold the lock file *path* together with other sharers."""
    with _held(path, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def exclusive(path: str) -> Iterator[None]:
    """Hold the lock file *path* alone."""
    with _held(path, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def exclusive_at_once(path: str) -> Iterator[int | None]:
    """Hold the lock file *path* alone if nobody else holds it now: a descriptor that does, or None.

    A process that is given the descriptor holds it, too, should this one be killed.
    """
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(_held(path, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            descriptor = None
        yield descriptor


@contextlib.contextmanager
def _held(path: str, operation: int) -> Iterator[int]:
    with store_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        yield descriptor
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process forked meanwhile may have the descriptor for longer
        os.close(descriptor)


@contextlib.contextmanager
def shared_directory(path: str) -> Iterator[None]:
    """Keep the directory *path* from being removed. Raises FileNotFoundError where it is gone."""
    with _held_directory(path, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def exclusive_directory(path: str) -> Iterator[None]:
    """Hold the directory *path* alone, to remove it. Raises FileNotFoundError where it is gone."""
    with _held_directory(path, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def _held_directory(path: str, operation: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, operation)
        if not _is_still_there(descriptor, path):
            raise FileNotFoundError(path)
        yield
    finally:
        os.close(descriptor)


def take(path: str) -> int | None:
    """A descriptor that holds the lock file *path* alone until it is closed; None while another has it.

    Whoever only looks (``is_held``) is waited for. The file's holder may remove it together with its directory.
    """
    for _ in range(_ATTEMPTS):
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        if try_lock(descriptor, fcntl.LOCK_EX) and _is_still_there(descriptor, path):
            return descriptor
        os.close(descriptor)
        time.sleep(_PAUSE)
    return None


def _is_still_there(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def is_held(path: str) -> bool:
    """Whether some process holds the lock file *path* alone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)
