"""Names of hosts and ports: ``--add-host``, ``--dns…`` and ``--expose`` as values, /etc/hosts and /etc/resolv.conf.

To Docker's words and layouts (hosts(5), resolv.conf(5)). Not here: networks, and where these files are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec import ports
from kernel_sandbox.spec.options import ContainerOptions

_HOSTS = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)
_OWN_ADDRESS = "127.0.1.1"
_DOMAIN = r"(?:[a-zA-Z0-9_](?:[a-zA-Z0-9_-]*[a-zA-Z0-9_])?\.?)+"
_NOWHERE = "."


def parse_host(text: str) -> str:
    """``--add-host``'s value, ``name:address`` or ``name=address``, as ``name:address``. Raises UsageError."""
    separator = "=" if "=" in text else ":"
    name, separated, address = text.partition(separator)
    if not name or not separated or not name.isprintable() or any(character.isspace() for character in name):
        raise UsageError(f'bad format for add-host: "{text}"')
    bare = address.removeprefix("[").removesuffix("]") if address.startswith("[") else address
    if not _is_address(bare):
        raise UsageError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{bare}"


def parse_address(text: str) -> str:
    """``--dns``'s value. Raises UsageError."""
    if not _is_address(text.strip()):
        raise UsageError(f"IP address is not correctly formatted: {text}")
    return text.strip()


def _is_address(text: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def parse_domain(text: str) -> str:
    """``--dns-search``'s value; ``.`` is for none. Raises UsageError."""
    domain = text.strip()
    if domain != _NOWHERE and (not re.fullmatch(_DOMAIN, domain) or len(domain) > 255):
        raise UsageError(f"{text} is not a valid domain")
    return domain


def parse_option(text: str) -> str:
    """``--dns-option``'s value. Raises UsageError for what would be more than one option."""
    if not text or not text.isprintable() or any(character.isspace() for character in text):
        raise UsageError(f"invalid DNS option: '{text}'")
    return text


def parse_exposed(text: str) -> tuple[str, ...]:
    """``--expose``'s value, ``port[-port][/protocol]``, as single ports with their protocols. Raises UsageError."""
    if ":" in text:
        raise UsageError(f"invalid port format for --expose: {text}")
    numbers, slash, protocol = text.partition("/")
    first, dash, last = numbers.partition("-")
    try:
        least = ports.number(first)
        most = ports.number(last) if dash else least
    except SandboxError as error:
        raise UsageError(f"invalid range format for --expose: {text}, error: {str(error).removesuffix('.')}") from None
    if least > most:
        raise UsageError(
            f"invalid range format for --expose: {text}, error: invalid range specified for port: {numbers}"
        )
    return tuple(f"{number}/{protocol if slash else 'tcp'}" for number in range(least, most + 1))


def hosts(hostname: str, extra: Iterable[str]) -> str:
    """The text of /etc/hosts: the usual names, those of ``--add-host``, and the container's own."""
    added = (each.partition(":")[::2] for each in extra)
    lines = (*_HOSTS, *((address, name) for name, address in added), (_OWN_ADDRESS, hostname))
    return "".join(f"{address}\t{names}\n" for address, names in lines)


def resolv_conf(options: ContainerOptions, own: str) -> str:
    """The text of /etc/resolv.conf: the host's *own*, but for each kind of line that something else is asked for."""
    if not (options.dns or options.dns_search or options.dns_options):
        return own
    search = options.dns_search or _values(own, "search")
    lines = [f"search {' '.join(search)}"] if search and search != (_NOWHERE,) else []
    lines += [f"nameserver {address}" for address in options.dns or _values(own, "nameserver")]
    if settings := options.dns_options or _values(own, "options"):
        lines.append(f"options {' '.join(settings)}")
    return "".join(f"{line}\n" for line in lines)


def _values(text: str, keyword: str) -> tuple[str, ...]:
    rows = (line.split() for line in text.splitlines())
    return tuple(value for row in rows if row[:1] == [keyword] for value in row[1:])
