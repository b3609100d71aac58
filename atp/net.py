"""Where a connection may go. DID documents, handles and redirects are written by strangers: none of them
may lead into the operator's own network, whatever a name resolves to at the moment of connecting.

Sources: RFC 6890 (special-purpose addresses), atproto.com/specs/did
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket

from yarl import URL

from schemas.errors import AddressForbidden, IdentityIncomplete

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PROTOCOL_ASSIGNMENTS = ipaddress.IPv4Network("192.0.0.0/24")  # not all of it private to older Pythons
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

AddressInfo = tuple[int, int, int, str, tuple[str | int | bytes, ...]]


class ForbiddenConnection(OSError):
    """A connect to an address that isn't public; inside aiohttp only errors of this family travel well."""


def is_public(address: str) -> bool:
    """Tell whether an IP address (text) is a host on the public internet.

    Addresses that carry an IPv4 address (mapped, 6to4, NAT64) are judged by that one; Teredo is refused.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip in _PROTOCOL_ASSIGNMENTS)
    if ip.ipv4_mapped is not None:
        return is_public(str(ip.ipv4_mapped))
    if ip in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    if ip.sixtofour is not None and not is_public(str(ip.sixtofour)):
        return False
    return ip in _GLOBAL_UNICAST and ip.is_global


def guarded_socket(address: AddressInfo) -> socket.socket:
    """Make the socket for one connect, after a look at the address itself. For aiohttp's connector."""
    if not is_public(str(address[4][0])):
        raise ForbiddenConnection(errno.EACCES, "not a public address")
    return open_socket(address)


def open_socket(address: AddressInfo) -> socket.socket:
    """Make the socket for one connect, to anywhere."""
    family, kind, protocol, _, _ = address
    return socket.socket(family=family, type=kind, proto=protocol)


def check_url(url: URL, *, allow_private: bool = False) -> None:
    """Refuse what can be refused before any name is resolved. Raises AddressForbidden.

    That is: every scheme but https (and http, with ``allow_private``), user information, names that
    only a local network knows, and literal addresses that aren't public.
    """
    if url.scheme != "https" and not (allow_private and url.scheme == "http"):
        raise AddressForbidden(f"{_show(url)} is not https")
    if url.raw_user is not None or url.raw_password is not None:
        raise AddressForbidden(f"{_show(url)} carries user information")
    host = (url.raw_host or "").removesuffix(".").lower()
    if not host:
        raise AddressForbidden(f"{_show(url)} names no host")
    if allow_private:
        return
    if _is_literal(host):
        if not is_public(host):
            raise AddressForbidden(f"{host} is not a public address")
    elif "." not in host or _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        raise AddressForbidden(f"{host} is not a public name")


def canonical_origin(url: str, *, allow_private: bool = False) -> str:
    """The one spelling of a host, by which it is keyed everywhere: ``https://pds.example``.

    Scheme, lower-case A-label host, port unless it is the scheme's own; no path, no trailing dot.
    Raises IdentityIncomplete where ``url`` names no host, AddressForbidden where it may not be used.
    """
    try:
        parsed = URL(url)
        host, port = (parsed.raw_host or "").removesuffix(".").lower(), parsed.port
    except ValueError as error:
        raise IdentityIncomplete(f"{url[:200]!r} is not the URL of a host: {error}") from error
    if parsed.scheme not in ("http", "https") or not _is_host(host) or port == 0:
        raise IdentityIncomplete(f"{url[:200]!r} is not the URL of a host")
    check_url(parsed, allow_private=allow_private)
    shown = f"[{ipaddress.ip_address(host)}]" if ":" in host else host
    return f"{parsed.scheme}://{shown}" + ("" if parsed.is_default_port() else f":{port}")


def _is_host(host: str) -> bool:
    if _is_literal(host):
        return True
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in host.split("."))


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _show(url: URL) -> str:
    return repr(str(url.with_user(None) if url.raw_host else url)[:200])
