"""Which accounts a job may touch: allow and deny lists of DIDs, hosts and domains, and the judge of them.

Whoever is about to fetch an account asks; nothing else may decide it, so that all decide alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from schemas.section import Section

DID_PATTERN = r"^did:[a-z]+:.+$"
HOST_PATTERN = r"^(https?://)?[A-Za-z0-9_.\[\]:-]+/?$"
_HostName = Annotated[str, Field(pattern=HOST_PATTERN)]
DOMAIN_PATTERN = r"^\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
_DomainName = Annotated[str, Field(pattern=DOMAIN_PATTERN)]


class ScopeList(Section):
    """Accounts by what they are or where they live; each entry counts by itself."""

    dids: list[Annotated[str, Field(pattern=DID_PATTERN)]] = Field(default_factory=list, description="DIDs.")
    hosts: list[_HostName] = Field(
        default_factory=list,
        description="PDSs: a name (pds.example.com) means it with any scheme and port, an origin "
        "(https://pds.example.com:8443) only itself.",
    )
    domains: list[_DomainName] = Field(
        default_factory=list,
        description="Ends of PDSs' names: example.com means it and all names below it.",
    )


class Scope(Section):
    """Which accounts may be fetched at all; the others are skipped."""

    allow: ScopeList = Field(
        default_factory=ScopeList,
        description="Only accounts that are in one of these lists; all empty or absent: all accounts.",
    )
    deny: ScopeList = Field(
        default_factory=ScopeList,
        description="No account that is in one of these lists, though it be allowed.",
    )


class ScopeJudge:
    """A scope, ready to be asked. Pure and quick: sets, and one look for each label of a host's name."""

    def __init__(self, scope: Scope) -> None:
        self._allow, self._deny = _Lists(scope.allow), _Lists(scope.deny)

    @property
    def unlimited(self) -> bool:
        """Whether every account lies inside."""
        return self._allow.empty and self._deny.empty

    @property
    def asks_for_hosts(self) -> bool:
        """Whether a host can make a difference."""
        return self._allow.names_hosts or self._deny.names_hosts

    def excludes_did(self, did: str) -> bool:
        """Whether this account lies outside wherever it lives: it need not even be resolved."""
        if did in self._deny.dids:
            return True
        return not (self._allow.empty or self._allow.names_hosts or did in self._allow.dids)

    def excludes_host(self, origin: str) -> bool:
        """Whether all accounts of this host (a canonical origin) lie outside: it need not even be asked."""
        if self._deny.has_host(origin):
            return True
        return not (self._allow.empty or self._allow.dids or self._allow.has_host(origin))

    def excludes(self, did: str, origin: str) -> bool:
        """Whether an account that lives on this host (a canonical origin) lies outside."""
        if did in self._deny.dids or self._deny.has_host(origin):
            return True
        return not (self._allow.empty or did in self._allow.dids or self._allow.has_host(origin))


class _Lists:
    def __init__(self, lists: ScopeList) -> None:
        self.dids = frozenset(lists.dids)
        self._hosts = frozenset(host.rstrip("/").lower() for host in lists.hosts)
        self._domains = frozenset(_dotless(lists.domains))
        self.names_hosts = bool(self._hosts or self._domains)
        self.empty = not (self.dids or self.names_hosts)

    def has_host(self, origin: str) -> bool:
        if not self.names_hosts:
            return False
        place = urlsplit(origin)
        name = place.hostname or ""
        if origin in self._hosts or name in self._hosts or place.netloc in self._hosts:
            return True
        return bool(self._domains) and any(tail in self._domains for tail in _tails(name))


def _dotless(domains: Iterable[str]) -> Iterable[str]:
    return (domain.lstrip(".").lower() for domain in domains)


def _tails(name: str) -> Iterable[str]:
    """`a.b.c`, `b.c`, `c`."""
    labels = name.split(".")
    return (".".join(labels[at:]) for at in range(len(labels)))
