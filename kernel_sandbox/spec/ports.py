"""Ports as Docker's users write them: ``80``, ``80/tcp``, ``8000-8010/udp`` (docker/go-connections, nat)."""

from __future__ import annotations

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec.units import is_number

_LAST = 65535


def check_filter(name: str, text: str) -> None:
    """The value of the filter ``publish`` or ``expose``: a port or a range of them. Raises SandboxError."""
    if ":" in text:
        raise SandboxError(f"filter for '{name}' should not contain ':': {text}")
    port = text.partition("/")[0]
    for end in port.split("-", 1) if port else ("",):
        try:
            number(end)
        except SandboxError as error:
            raise SandboxError(f"error while looking up for {name} {text}: {error}") from None


def number(text: str) -> int:
    """A port's number, in the words of Go's strconv.ParseUint where it is none. Raises SandboxError."""
    if not is_number(text):
        raise SandboxError(
            f'strconv.ParseUint: parsing "{text}": invalid syntax' if text else "empty string specified for ports."
        )
    if int(text) > _LAST:
        raise SandboxError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)
