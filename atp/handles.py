"""From a handle to the DID that it names, by DNS and by its web server. The other direction, whether the
DID agrees, is the caller's to check.

Source: atproto.com/specs/handle#handle-resolution
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import dns.asyncresolver
import dns.exception
import dns.resolver

from atp import syntax
from atp.xrpc import Client
from schemas.errors import HostUnknown, HostUnreachable, IdentityNotFound, UnexpectedResponse

TxtLookup = Callable[[str], Awaitable[list[str]]]
"""From a DNS name to its TXT records, none where there are none. Raises HostUnreachable."""

_PREFIX = "did="


class DnsTxt:
    """A TxtLookup by DNS, through ``resolver``, or the one that the system is configured with."""

    def __init__(self, resolver: dns.asyncresolver.Resolver | None = None, *, timeout: float = 10.0) -> None:
        self._resolver = resolver
        self._timeout = timeout  # seconds, for all attempts together

    async def __call__(self, name: str) -> list[str]:
        """The TXT records of a name. Raises HostUnreachable where DNS does not say."""
        try:
            resolver = self._resolver or dns.asyncresolver.get_default_resolver()
            answer = await resolver.resolve(name, "TXT", lifetime=self._timeout, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise HostUnreachable(f"DNS does not answer for {name}: {error}") from error
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]


async def lookup_handle(handle: str, client: Client, txt: TxtLookup) -> str:
    """The DID that a handle names: by DNS if that names one, else by its web server.

    Raises IdentityNotFound where neither does; where one of them was out of reach, that XrpcError.
    """
    did = None
    dns_error = None
    try:
        did = await _by_dns(handle, txt)
    except HostUnreachable as error:
        dns_error = error
    did = did or await _by_web(handle, client)
    if did is not None:
        return did
    if dns_error is not None:
        raise dns_error
    raise IdentityNotFound(f"neither DNS nor a web server names a DID for {handle}")


async def _by_dns(handle: str, txt: TxtLookup) -> str | None:
    texts = [text for text in await txt(f"_atproto.{handle}") if text.startswith(_PREFIX)]
    dids = {text.removeprefix(_PREFIX) for text in texts}
    if len(dids) > 1:
        raise IdentityNotFound(f"DNS names {len(dids)} DIDs for {handle}")
    return next((did for did in dids if syntax.is_did(did)), None)


async def _by_web(handle: str, client: Client) -> str | None:
    try:
        did = (await client.get_text(f"https://{handle}/.well-known/atproto-did")).strip()
    except HostUnknown:
        return None
    except UnexpectedResponse as error:
        if error.status >= 500:
            raise
        return None
    return did if syntax.is_did(did) else None
