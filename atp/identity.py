"""Who an account is: its DID, where its repository lives, and the key that signs it.

A handle counts only when DNS or its web server names the DID and the DID's document names the handle.
Sources: atproto.com/specs/{did,handle}, the did:plc and did:web methods
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from atp import keys, syntax
from atp.handles import DnsTxt, TxtLookup, lookup_handle
from atp.limiter import HostLimiter
from atp.net import canonical_origin
from atp.retry import Backoff
from atp.xrpc import Answer, Client
from schemas.errors import (
    HandleMismatch,
    IdentifierInvalid,
    IdentityIncomplete,
    IdentityNotFound,
    IdentityTombstoned,
    SkyfillError,
    UnexpectedResponse,
)

__all__ = ["Identity", "Mirror", "Observer", "Resolver", "canonical_origin", "parse_document"]

_PLC = re.compile(r"did:plc:[a-z2-7]{24}")
_AS_FAST_AS_IT_ALLOWS = float("inf")
_WEB = re.compile(r"did:web:([a-zA-Z0-9.-]+)(%3A[0-9]{1,5})?")


class Identity(NamedTuple):
    """An account. ``handle`` is what the document claims; proven if the account was named by handle."""

    did: str
    handle: str | None
    pds: str  # canonical origin
    signing_key: str  # did:key


class Mirror(Protocol):
    """What is known of the directory without asking it: see atp.plc_mirror."""

    def find(self, did: str) -> Identity | SkyfillError | None:
        """What a DID leads to, private addresses included; None: ask the directory."""

    def find_many(self, dids: Iterable[str]) -> Mapping[str, Identity | SkyfillError]:
        """The same for many; those to ask the directory for are left out, and so is what is no DID."""


class Observer(Protocol):
    """Is told what answered: ``cache``, ``mirror``, ``request``, or ``shared`` for another's request."""

    def resolved(self, answered_by: str) -> None:
        """Once for each call."""


class Resolver:
    """Resolves accounts, many at once, each only once at a time.

    A ``mirror`` answers for the directory what it knows, in this thread: some 20 us a DID. The directory is
    asked as fast as it allows: what it advertises and its refusals are the ``limiter``'s to heed.

    ``plc_url`` and ``handle_host`` (an XRPC host to ask for handles, instead of DNS and web) are the
    operator's settings and trusted. ``ttl`` in seconds; ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        client: Client,
        *,
        plc_url: str = "https://plc.directory",
        handle_host: str | None = None,
        mirror: Mirror | None = None,
        observer: Observer | None = None,
        concurrency: int = 50,
        cache_size: int = 20_000,
        ttl: float = 3600.0,
        txt: TxtLookup | None = None,
        backoff: Backoff | None = None,
        limiter: HostLimiter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._plc_url = plc_url.rstrip("/")
        self._handle_host = handle_host
        self._mirror = mirror
        self._observer = observer
        self._txt = txt or DnsTxt()
        self._backoff = backoff or Backoff()
        self._limiter = limiter or HostLimiter(time.time)
        self._cache = _Cache(cache_size, ttl, clock)
        self._slots = asyncio.Semaphore(concurrency)
        self._flights: dict[tuple[str, bool], _Flight] = {}

    async def resolve(self, did_or_handle: str, *, fresh: bool = False) -> Identity:
        """The account of a DID or handle. ``fresh`` passes cache and mirror, and renews the cache.

        Raises IdentityError's subclasses, and AddressForbidden where the account leads to a private
        address.
        """
        name = did_or_handle if did_or_handle.startswith("did:") else did_or_handle.lower()
        known = None if fresh else self._cache.get(name)
        if known is not None:
            self._tell("cache")
            return known
        mirrored = None if fresh else self._mirrored(name)
        if mirrored is not None:
            self._tell("mirror")
            await asyncio.sleep(0)  # many thousands may be answered in a row: others want their turn, too
            return self._allowed(mirrored)
        flight = self._flights.get((name, fresh))
        self._tell("request" if flight is None else "shared")
        if flight is None:
            flight = self._flights[name, fresh] = _Flight(asyncio.create_task(self._resolve(name, fresh)))
            flight.work.add_done_callback(lambda done: self._land((name, fresh), done))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.work)  # whoever gives up waiting leaves it to the others
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.work.done():
                self._flights.pop((name, fresh), None)  # who comes now may not join what is broken off
                flight.work.cancel()

    def known(self, names: Collection[str]) -> dict[str, Identity]:
        """Those of these DIDs and handles (in lower case) that can be told without asking anybody."""
        found = {name: identity for name in names if (identity := self._cache.get(name)) is not None}
        for _ in found:
            self._tell("cache")
        if self._mirror is None or len(found) == len(names):
            return found
        for did, answer in self._mirror.find_many([name for name in names if name not in found]).items():
            try:
                found[did] = self._allowed(answer)
            except SkyfillError:
                continue  # `resolve` will say so
            self._tell("mirror")
        return found

    def _land(self, flight: tuple[str, bool], done: asyncio.Task[Identity]) -> None:
        if (known := self._flights.get(flight)) is not None and known.work is done:
            del self._flights[flight]
        if not done.cancelled():
            done.exception()  # seen, even if nobody waits for it any more

    def _tell(self, answered_by: str) -> None:
        if self._observer is not None:
            self._observer.resolved(answered_by)

    def _mirrored(self, did: str) -> Identity | SkyfillError | None:
        return self._mirror.find(did) if self._mirror is not None else None

    def _allowed(self, mirrored: Identity | SkyfillError) -> Identity:
        """What the mirror says, as if the directory had said it. Raises what `resolve` raises."""
        if isinstance(mirrored, SkyfillError):
            raise mirrored
        canonical_origin(mirrored.pds, allow_private=self._client.allow_private_hosts)
        return mirrored

    async def _resolve(self, name: str, fresh: bool) -> Identity:
        async with self._slots:
            if name.startswith("did:"):
                identity = await self._resolve_did(name)
            elif syntax.is_handle(name):
                identity = await self._resolve_handle(name, fresh)
            else:
                raise IdentifierInvalid(f"{name[:300]!r} is neither a DID nor a handle")
        self._cache.put(name, identity)
        return identity

    async def _resolve_did(self, did: str) -> Identity:
        url, trusted = self._document_url(did)
        document = await self._backoff.run(did, lambda: self._fetch(did, url, trusted))
        return parse_document(did, document, allow_private=self._client.allow_private_hosts)

    async def _resolve_handle(self, handle: str, fresh: bool) -> Identity:
        did = await self._backoff.run(handle, lambda: self._did_of(handle))
        mirrored = None if fresh else self._mirrored(did)
        if isinstance(mirrored, Identity) and mirrored.handle == handle:
            return self._allowed(mirrored)
        identity = await self._resolve_did(did)  # the mirror may know an older handle only
        if identity.handle != handle:
            raise HandleMismatch(f"{handle} names {did}, whose document names {identity.handle}")
        self._cache.put(did, identity)
        return identity

    async def _did_of(self, handle: str) -> str:
        if self._handle_host is None:
            return await lookup_handle(handle, self._client, self._txt)
        try:
            answer = await self._client.resolve_handle(self._handle_host, handle, trusted=True)
        except UnexpectedResponse as error:
            if error.status == 400:  # HandleNotFound in new hosts, InvalidRequest in older ones
                raise IdentityNotFound(f"{self._handle_host} knows no handle {handle}") from error
            raise
        return str(answer.body["did"])

    def _document_url(self, did: str) -> tuple[str, bool]:
        """Where the document of a DID is, and whether that place is the operator's."""
        if _PLC.fullmatch(did):
            return f"{self._plc_url}/{did}", True
        match = _WEB.fullmatch(did)
        if match is None:
            raise IdentifierInvalid(f"{did[:300]!r} is neither a did:plc nor a did:web of a host")
        host, port = match.group(1), unquote(match.group(2) or "")
        if host == "localhost" and self._client.allow_private_hosts:
            return f"http://{host}{port}/.well-known/did.json", False
        if port or not syntax.is_handle(host):
            raise IdentifierInvalid(f"{did[:300]!r} does not name a public host without port")
        return f"https://{host}/.well-known/did.json", False

    async def _fetch(self, did: str, url: str, trusted: bool) -> Mapping[str, Any]:
        try:
            answer = await (self._ask_directory(url) if trusted else self._client.get_json(url))
        except UnexpectedResponse as error:
            if error.status == 404:
                raise IdentityNotFound(f"there is no {did}") from error
            if error.status == 410:
                raise IdentityTombstoned(f"{did} was deleted for good") from error
            if error.status == 200:
                raise IdentityIncomplete(f"{did}: {error}") from error
            raise
        if not isinstance(answer.body, dict):
            raise IdentityIncomplete(f"the document of {did} is not a JSON object")
        return answer.body

    async def _ask_directory(self, url: str) -> Answer:
        async with self._limiter.turn("plc", "", _AS_FAST_AS_IT_ALLOWS) as turn:
            answer = await self._client.get_json(url, trusted=True)
            turn.answered(answer.headers)
            return answer


def parse_document(did: str, document: Mapping[str, Any], *, allow_private: bool = False) -> Identity:
    """What a DID document says about its account.

    Raises IdentityIncomplete, saying what is missing, and AddressForbidden.
    """
    if document.get("id") != did:
        raise IdentityIncomplete(f"the document of {did} is that of {str(document.get('id'))[:200]!r}")
    method = _entry(did, document, "verificationMethod", "#atproto")
    if method is None:
        raise IdentityIncomplete(f"{did} has no signing key (#atproto)")
    service = _entry(did, document, "service", "#atproto_pds")
    endpoint = service.get("serviceEndpoint") if service is not None else None
    if service is None or service.get("type") != "AtprotoPersonalDataServer" or not isinstance(endpoint, str):
        raise IdentityIncomplete(f"{did} has no PDS (#atproto_pds)")
    pds = canonical_origin(endpoint, allow_private=allow_private)
    return Identity(did, _handle(document), pds, keys.from_verification_method(method).did_key())


def _entry(did: str, document: Mapping[str, Any], section: str, fragment: str) -> dict[str, Any] | None:
    """The first entry of a section with this id, written relative or absolute."""
    entries = document.get(section)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("id") in (fragment, did + fragment):
            return entry
    return None


def _handle(document: Mapping[str, Any]) -> str | None:
    names = document.get("alsoKnownAs")
    for name in names if isinstance(names, list) else []:
        if isinstance(name, str) and name.startswith("at://"):
            handle = name.removeprefix("at://").lower()
            return handle if syntax.is_handle(handle) else None
    return None


@dataclass
class _Flight:
    """An account that is being asked for, and how many wait for it; without any it is broken off."""

    work: asyncio.Task[Identity]
    waiting: int = 0


class _Cache:
    """The accounts asked for last, each for a limited time."""

    def __init__(self, size: int, ttl: float, clock: Callable[[], float]) -> None:
        self._size = size
        self._ttl = ttl
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, Identity]] = OrderedDict()

    def get(self, name: str) -> Identity | None:
        entry = self._entries.get(name)
        if entry is None or entry[0] <= self._clock():
            return None
        self._entries.move_to_end(name)
        return entry[1]

    def put(self, name: str, identity: Identity) -> None:
        self._entries[name] = (self._clock() + self._ttl, identity)
        self._entries.move_to_end(name)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
