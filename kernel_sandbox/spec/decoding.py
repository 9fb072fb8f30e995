"""Types that msgspec decodes to, made ready for threads.

It works out what a type means when it first meets it; a second thread that meets the type in the midst of that crashes
the interpreter. So nothing is decoded to a type that has not come through here.
"""

from __future__ import annotations

import threading
from typing import TypeVar

import msgspec

T = TypeVar("T")

_LOCK = threading.Lock()
_ready: set[object] = set()


def decodable(type_: type[T]) -> type[T]:
    """The type itself, when msgspec knows all about it."""
    if type_ not in _ready:
        with _LOCK:
            msgspec.msgpack.Decoder(type_)
            _ready.add(type_)
    return type_
