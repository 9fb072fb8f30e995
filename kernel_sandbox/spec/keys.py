"""``--detach-keys``: its grammar, and finding the keys in what is typed. To moby/term.

::

    keys = key *("," key)
    key  = one character | "ctrl-" ("@" | a letter | "[" | "\\" | "]" | "^" | "_") | "DEL"

Here: text to bytes, and a state machine over bytes. Not here: terminals.
"""

from __future__ import annotations

from kernel_sandbox.errors import UsageError

DEFAULT = "ctrl-p,ctrl-q"
_CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"  # in the order of their codes, from 0 on
_CODES = {**{f"ctrl-{key}": code for code, key in enumerate(_CONTROLS)}, "DEL": 127}


def parse(text: str) -> bytes:
    """The bytes that the keys send; no text stands for ``DEFAULT``. Raises UsageError in Docker's words."""
    try:
        return bytes(map(_code, (text or DEFAULT).split(",")))
    except KeyError:
        raise UsageError(f"Invalid detach keys ({text}) provided") from None


def _code(key: str) -> int:
    return ord(key) if len(key) == 1 and key.isascii() else _CODES[key]


class KeySequence:
    """Finds a sequence of keys in what is typed, however it comes in pieces.

    What could be its beginning is held back, and goes on with the next key that does not belong to it.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0
        self.is_complete = False

    def feed(self, typed: bytes) -> bytes:
        """What to pass on of *typed*, and of what was held back; nothing once the sequence is complete."""
        passed = bytearray()
        for byte in typed:
            if self.is_complete:
                break
            if self._keys[self._held] == byte:
                self._held = (self._held + 1) % len(self._keys)
                self.is_complete = self._held == 0
            else:
                passed += self.flush()
                passed.append(byte)
        return bytes(passed)

    def flush(self) -> bytes:
        """What is held back, when nothing more will be typed."""
        held, self._held = self._keys[: self._held], 0
        return held
