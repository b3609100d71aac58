"""Hosts of one provider taken together: a bar for each of 86 hosts of one domain would tell less than one."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from schemas.job_status import JobHost

MOST_GROUPS = 8
REST = "the rest"
_LEAST_LABELS = 3
"""Two hosts of `example.com` are of one provider; two of `com` are not."""


@dataclass
class HostGroup:
    """Hosts, and a job's accounts at them."""

    name: str
    hosts: int = 0
    planned: int = 0
    done: int = 0
    failed: int = 0

    def add(self, page: JobHost) -> None:
        """One more host."""
        self.hosts += 1
        # Accounts that moved were planned elsewhere, and end here.
        self.planned += max(page.planned, page.counts.terminal)
        self.done += page.counts.terminal
        self.failed += page.counts.failed


def host_groups(pages: Mapping[str, JobHost], most: int = MOST_GROUPS) -> list[HostGroup]:
    """The largest groups by accounts, then one for all that is left."""
    names = _group_names(pages)
    groups: dict[str, HostGroup] = {}
    for host, page in pages.items():
        groups.setdefault(names[host], HostGroup(names[host])).add(page)
    ranked = sorted(groups.values(), key=lambda group: (-group.planned, group.name))
    shown, left = ranked[:most], ranked[most:]
    if left:
        rest = HostGroup(REST)
        for group in left:
            rest.hosts += group.hosts
            rest.planned += group.planned
            rest.done += group.done
            rest.failed += group.failed
        shown.append(rest)
    return shown


def _group_names(hosts: Iterable[str]) -> dict[str, str]:
    """Each host's group: `*.host.example` where several are below that, else the host's own name."""
    places = {host: urlsplit(host).netloc or host for host in hosts}
    domains = {host: _domain(urlsplit(host).hostname or "") for host in places}
    counts = Counter(domain for domain in domains.values() if domain)
    return {
        host: f"*.{domain}" if (domain := domains[host]) and counts[domain] > 1 else place
        for host, place in places.items()
    }


def _domain(name: str) -> str | None:
    """What several hosts of one provider have in common; None for an address or a short name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.partition(".")[2] if name.count(".") >= _LEAST_LABELS - 1 else None
    return None
