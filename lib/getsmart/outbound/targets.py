"""Where a delivery may go: which URLs, and which addresses behind their names. Pure.

Lists of our own and not `ipaddress.is_global`, whose answers change with the version of Python. In IPv6 only global
unicast is allowed, and of that nothing that carries an IPv4 address: mapped and translated forms are all refused.
IANA: iana-ipv4-special-registry, iana-ipv6-special-registry; WHATWG URL, host parsing: a host that ends in a number.
"""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

_MOST_CHARACTERS = 2_000
_PORTS = (443, 8443)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa", "localdomain", "lan")

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# This machine and this network: in test mode a receiver may be here.
_PRIVATE = _networks("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
# Metadata services, of which some have addresses inside what is private or even public.
_METADATA = _networks("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "fd00:ec2::/32", "fd20:ce::/32")
_SPECIAL = _networks(
    *("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")


class TargetRefused(Exception):
    """We do not call this; the text is one sentence that its client may read."""


class Target(NamedTuple):
    """A URL, understood: `host` without brackets, `path` with its query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "https"


def parse(url: str, *, may_be_private: bool) -> Target:
    """The target of a URL. Raises TargetRefused for one that is not called whatever its name leads to."""
    if not 1 <= len(url) <= _MOST_CHARACTERS or not re.fullmatch(r"[!-~]+", url, re.ASCII) or "\\" in url:
        raise TargetRefused("must be a URL of at most 2,000 ASCII characters")
    if "#" in url:
        raise TargetRefused("must not have a fragment")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise TargetRefused("must be a URL") from None
    if parts.scheme not in (("https", "http") if may_be_private else ("https",)):
        raise TargetRefused("must begin with https://")
    if "@" in parts.netloc:
        raise TargetRefused("must not hold a user or a password")
    port = (443 if parts.scheme == "https" else 80) if port is None else port
    if not may_be_private and port not in _PORTS:
        raise TargetRefused("must use port 443 or 8443")
    _check_host(host, is_bracketed=parts.netloc.startswith("["), may_be_private=may_be_private)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path)


def _check_host(host: str, *, is_bracketed: bool, may_be_private: bool) -> None:
    labels = host.split(".")
    if is_bracketed or _NUMBER.fullmatch(labels[-1]):
        # Decimal, octal, hexadecimal and shortened forms are addresses to some resolvers: only the plain one is to us.
        if not is_allowed(host, may_be_private=may_be_private):
            raise TargetRefused("must not lead to an address that is not public")
        return
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise TargetRefused("must name a host")
    is_local = len(labels) == 1 or any(host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES)
    if is_local and not may_be_private:
        raise TargetRefused("must name a public host")


def is_allowed(address: str, *, may_be_private: bool) -> bool:
    """Whether we connect to an address, written plainly; `may_be_private` also admits this machine and its network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if "%" in address or _within(parsed, _METADATA):
        return False
    if _within(parsed, _PRIVATE):
        return may_be_private
    if isinstance(parsed, ipaddress.IPv6Address) and parsed not in _GLOBAL_V6:
        return False
    return not _within(parsed, _SPECIAL)


def _within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, networks: tuple[_Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
