"""Ports as Docker's users write them: ``80``, ``80/tcp``, ``8000-8010/udp`` (docker/go-connections, nat)."""

from __future__ import annotations

from collections.abc import Iterator

from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec.units import is_number

_LAST = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")


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


def exposed(text: str) -> Iterator[str]:
    """Each container's port with its protocol of ``[[address:]host-port:]port[-port][/protocol]``, EXPOSE's words.

    What stands before a colon has to be right, and does not matter. Raises UsageError in Docker's words.
    """
    host, _, port = text.rpartition(":")
    numbers, _, protocol = port.partition("/")
    protocol = protocol.partition("/")[0] or "tcp"
    if not numbers:
        raise UsageError(f"No port specified: {text}<empty>")
    wanted = _range("containerPort", numbers)
    _check_host(*host.rpartition(":")[::2], numbers, len(wanted))
    if protocol.lower() not in _PROTOCOLS:
        raise UsageError(f"Invalid proto: {protocol}")
    return (f"{number}/{protocol.lower()}" for number in wanted)


def _check_host(address: str, numbers: str, container_numbers: str, count: int) -> None:
    import ipaddress

    try:
        ipaddress.ip_address(address.removeprefix("[").removesuffix("]") or "::")
    except ValueError:
        raise UsageError(f"Invalid ip address: {address}") from None
    if numbers and count not in (1, len(_range("hostPort", numbers))):
        raise UsageError(f"Invalid ranges specified for container and host Ports: {container_numbers} and {numbers}")


def _range(kind: str, text: str) -> range:
    first, dash, last = text.partition("-")
    try:
        found = range(number(first), number(last if dash else first) + 1)
    except SandboxError:
        found = range(0)
    if not found:
        raise UsageError(f"Invalid {kind}: {text}")
    return found
