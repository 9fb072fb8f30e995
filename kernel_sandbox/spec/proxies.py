"""Which proxy leads to a server: what ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` mean to Docker.

Docker reads them as all of Go's programs do (golang.org/x/net/http/httpproxy): capitals count before small letters, and
what ``NO_PROXY`` lists may be a network. ``ALL_PROXY`` stands for either one that is not set, as for curl.

    NO_PROXY := entry (',' entry)*
    entry    := '*'                         every server
              | address '/' bits            the servers whose addresses are written so, and lie in the network
              | address [':' port]          that server; an IPv6 address with a port stands in brackets
              | ['*'] '.' domain [':' port] all names below the domain
              | domain [':' port]           the domain, and all names below it

Not here: which servers are asked without a proxy whatever is set, and connecting to one.
"""

import ipaddress
import re
from collections.abc import Mapping

_ENTRY = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^\[\]:]*))(?::(?P<port>[^:]*))?")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def proxy_to(environment: Mapping[str, str], scheme: str, host: str, port: int) -> str:
    """The address of the proxy, "" where the environment names none or has the server be asked directly."""
    proxy = _variable(environment, f"{scheme}_proxy") or _variable(environment, "all_proxy")
    entries = _variable(environment, "no_proxy").lower().split(",")
    if not proxy or any(_is_meant(entry.strip(), host.lower(), port) for entry in entries):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name.upper()) or environment.get(name) or ""


def _is_meant(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY is about a server."""
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        return address is not None and _is_in(address, entry)
    parts = _ENTRY.fullmatch(entry)
    name = (parts["bracketed"] or parts["plain"]) if parts else entry
    if not name or (parts and parts["port"] not in (None, "", str(port))):
        return False
    if address is not None:
        return _address(name) == address
    below = name.removeprefix("*") if name.startswith("*.") else name
    return host.endswith(below if below.startswith(".") else f".{below}") or host == below


def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_in(address: _Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
