"""How registries are to be met: the document ``registries.json``, in the words of dockerd's ``daemon.json``.

::

    {
      "insecure-registries": ["registry.example:5000", "10.0.0.0/8"],
      "registry-mirrors": ["https://mirror.example"],
      "max-concurrent-downloads": 3,
      "max-concurrent-uploads": 5
    }

``registry-mirrors`` is a list for Docker Hub, or an object with a list for each registry. Here: what the document may
say and what that means for a registry. Not here: where it lies, certificates, and connections.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.reference import DEFAULT_DOMAIN

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
_MAX_AT_ONCE = 64
_Count = Annotated[int, msgspec.Meta(ge=1, le=_MAX_AT_ONCE)]
_Mirrors = Mapping[str, tuple[str, ...]]


class RegistrySettings(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """The document; each value as dockerd has it. Counts are of blobs that travel at the same time."""

    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] | _Mirrors = ()
    max_concurrent_downloads: _Count = 3
    max_concurrent_uploads: _Count = 5

    def is_insecure(self, domain: str) -> bool:
        """Whether a registry may be met without TLS, or with a certificate that nobody vouches for.

        The machine's own may always. A network (CIDR) stands for the addresses in it; names are not looked up, since
        who answers for a name would decide where secrets go.
        """
        domain = domain.lower()
        if domain == DEFAULT_DOMAIN:
            return False
        host = _without_port(domain)
        return domain in self._hosts or host == "localhost" or _is_in(host, (*_LOOPBACK, *self._networks))

    def mirrors(self, domain: str) -> tuple[str, ...]:
        """The addresses to ask before the registry itself, as ``https://host[:port]``."""
        if isinstance(self.registry_mirrors, Mapping):
            found = self.registry_mirrors.get(domain, ())
        else:
            found = self.registry_mirrors if domain == DEFAULT_DOMAIN else ()
        return tuple(each.rstrip("/") for each in found)

    @property
    def _hosts(self) -> tuple[str, ...]:
        return tuple(_without_scheme(each) for each in self.insecure_registries if "/" not in _without_scheme(each))

    @property
    def _networks(self) -> tuple[_Network, ...]:
        texts = map(_without_scheme, self.insecure_registries)
        return tuple(ipaddress.ip_network(each, strict=False) for each in texts if "/" in each)


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def decode(content: bytes) -> RegistrySettings:
    """The document's meaning. Raises UsageError, which names the key that is wrong."""
    try:
        found = msgspec.json.decode(content, type=decodable(RegistrySettings))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(_in_ones_own_words(str(error))) from None
    for entry in found.insecure_registries:
        _check_insecure(entry)
    lists = found.registry_mirrors
    for address in (each for some in lists.values() for each in some) if isinstance(lists, Mapping) else lists:
        _check_mirror(address)
    return found


def _in_ones_own_words(complaint: str) -> str:
    """``Expected `int`, got `str` - at `$.key` `` with the key first."""
    what, at, where = complaint.partition(" - at ")
    return f"{where.strip('`').removeprefix('$.')}: {what}" if at else what


def _check_insecure(entry: str) -> None:
    text = _without_scheme(entry)
    try:
        if "/" in text:
            ipaddress.ip_network(text, strict=False)
        elif not _HOST.fullmatch(text):
            raise ValueError
    except ValueError:
        raise UsageError(f"insecure-registries: {entry!r} is no host, host:port or network as 10.0.0.0/8") from None


def _check_mirror(address: str) -> None:
    """Raises UsageError, much as dockerd."""
    try:
        parts = urlsplit(address)
        is_host = _HOST.fullmatch(parts.netloc.rpartition("@")[2].lower())
    except ValueError:
        is_host = None
    if not is_host:
        raise UsageError(f'registry-mirrors: invalid mirror: "{address}" is not a valid URI')
    if parts.scheme not in ("http", "https"):
        raise UsageError(f'registry-mirrors: invalid mirror: unsupported scheme "{parts.scheme}" in "{address}"')
    if "@" in parts.netloc:
        raise UsageError(f"registry-mirrors: invalid mirror: username/password not allowed in URI of {parts.hostname}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f'registry-mirrors: invalid mirror: path, query, or fragment at end of the URI "{address}"')


def _without_scheme(entry: str) -> str:
    return entry.lower().removeprefix("http://").removeprefix("https://")


def _without_port(domain: str) -> str:
    if domain.startswith("["):
        return domain[1:].partition("]")[0]
    return domain.partition(":")[0]


def _is_in(host: str, networks: tuple[_Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)
