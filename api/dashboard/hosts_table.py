"""A job's hosts as a table: sorted by any column, a page at a time. There may be thousands of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

from api.host_views import host_view
from schemas.hosts import HostState
from schemas.job_status import JobHost
from schemas.rates import HostRates, JobRates

_ON_A_PAGE = 25
_DEFAULT = "-planned"
_BREAKERS = ("closed", "half_open", "open")
_Key = Callable[[JobHost, HostState | None, HostRates | None], Any]
COLUMNS: tuple[tuple[str, str, _Key], ...] = (
    ("host", "Host", lambda part, state, pace: part.host),
    ("planned", "Planned", lambda part, state, pace: max(part.planned, part.counts.terminal)),
    ("completed", "Completed", lambda part, state, pace: part.counts.completed),
    ("unavailable", "Unavailable", lambda part, state, pace: part.counts.unavailable),
    ("failed", "Failed", lambda part, state, pace: part.counts.failed),
    ("records", "Records", lambda part, state, pace: part.counts.records),
    ("pace", "Records/s", lambda part, state, pace: pace.records_per_second if pace else -1.0),
    ("breaker", "Breaker", lambda part, state, pace: _BREAKERS.index(state.breaker) if state else -1),
)
"""Name in the address, heading, and what it sorts by."""


def hosts_table(
    here: str,
    parts: Mapping[str, JobHost],
    states: Mapping[str, HostState],
    rates: JobRates | None,
    sort: str,
    page: int,
    now: datetime,
) -> dict[str, Any]:
    """What the template needs. `sort` is a column's name, with `-` in front for the largest first; what is
    none means the most accounts first. `page` counts from 1."""
    keys = {name: key for name, _, key in COLUMNS}
    if sort.removeprefix("-") not in keys:
        sort = _DEFAULT
    column, down = sort.removeprefix("-"), sort.startswith("-")
    paces = rates.windows[0].hosts if rates is not None and rates.windows else {}
    by_name = sorted(parts.values(), key=lambda part: part.host)
    ordered = sorted(
        by_name,
        key=lambda part: keys[column](part, states.get(part.host), paces.get(part.host)),
        reverse=down,
    )
    pages = max(1, -(-len(ordered) // _ON_A_PAGE))
    page = min(max(page, 1), pages)
    shown = ordered[(page - 1) * _ON_A_PAGE : page * _ON_A_PAGE]
    return {
        "hosts": [host_view(part, states.get(part.host), rates, now) for part in shown],
        "hosts_count": len(ordered),
        "host_columns": [(name, title) for name, title, _ in COLUMNS],
        "sort": SimpleNamespace(key=column, down=down),
        "sort_addresses": {
            name: _address(here, f"-{name}" if (column != name or not down) else name, 1) for name in keys
        },
        "next_hosts": _address(here, sort, page + 1) if page < pages else None,
        "first_hosts": _address(here, sort, 1) if page > 1 else None,
    }


def _address(here: str, sort: str, page: int) -> str:
    query = {"sort": sort} | ({"page": page} if page > 1 else {})
    return f"{here}?{urlencode(query)}#hosts"
