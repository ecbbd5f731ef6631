"""Where pictures may be fetched from: addresses as text taken apart, and places on the network judged.

An address is allowed when its scheme, host and port are, letter by letter, those of an entry of the list; whatever is
written in a way that parsers could read differently is no address at all. What its host's name stands for is judged
besides, for a name says nothing about where it leads.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple

MOST_CHARS = 2048
HOST = r"([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?"
ENTRY = re.compile(rf"(?:(https?)://)?{HOST}", re.IGNORECASE | re.ASCII)
ADDRESS = re.compile(rf"(https?)://{HOST}([/?][a-z0-9._~:/?@!$&'()*+,;=%-]*)?", re.IGNORECASE | re.ASCII)
"""No user, no backslash, no white space, no letter beyond ASCII, no fragment, no zone."""
PORTS = {"https": 443, "http": 80}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
RESERVED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # public, and yet a cloud's own service for the machines in it
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip
"""IANA's special-purpose registries, whatever a version of the standard library thinks of them."""
UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out; mapped, translated, local and multicast addresses are outside."""


class Origin(NamedTuple):
    scheme: str
    host: str
    """In lower case; of IPv6 without its brackets."""
    port: int


def listed(entry: str) -> Origin:
    """Of `host`, `host:port` or `http://host:port`. Raises ValueError."""
    found = ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError(
            f"{entry!r} is no host; write images.example.com, its port behind a colon, http:// before it"
        )
    return _origin(found[1] or "https", found[2], found[3])


def taken_apart(address: str) -> tuple[Origin, str] | None:
    """The origin and what is asked of it, from a path on; None of what is no address of a picture."""
    found = ADDRESS.fullmatch(address) if len(address) <= MOST_CHARS else None
    if found is None:
        return None
    target = found[4] or "/"
    return _origin(found[1], found[2], found[3]), target if target.startswith("/") else f"/{target}"


def may_be_at(place: str, networks: Sequence[Network] = ()) -> bool:
    """Whether a host may be there: in the public internet, or in one of the networks."""
    address = ipaddress.ip_address(place)
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return False
    if any(address in network for network in networks):
        return True
    if isinstance(address, ipaddress.IPv6Address) and address not in UNICAST:
        return False
    return address.is_global and not any(address in network for network in RESERVED)


def _origin(scheme: str, host: str, port: str | None) -> Origin:
    lower = scheme.lower()
    return Origin(lower, host.lower().strip("[]"), int(port) if port else PORTS[lower])
