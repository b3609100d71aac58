"""Reads pages of the dashboard without a browser, and writes what they tell of."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import httpx

from schemas.job_status import Counts, ErrorSample, ErrorSummary, HistoryEntry, JobHost, JobStatus
from schemas.tokens import Role
from tests.api.server import ApiServer

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
NOW = datetime.now(UTC)
SAME = {"Sec-Fetch-Site": "same-origin"}


class Markup(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.ids: list[str] = []
        self._in: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._in = tag if tag in ("script", "style") else None
        if name := found.get("id"):
            self.ids.append(name)

    def handle_data(self, data: str) -> None:
        if self._in is not None:
            self.inline += data.strip()

    def handle_endtag(self, tag: str) -> None:
        self._in = None

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def somebody(server: ApiServer, role: Role) -> httpx.Client:
    """Somebody who is logged in."""
    return httpx.Client(
        base_url=server.url, cookies={"skyfill_token": server.tokens[role]}, headers=SAME, timeout=30
    )


def job(server: ApiServer, job_id: str, status: JobStatus | None = None) -> JobStatus:
    """A job whose every text comes from somebody evil."""
    board = server.board
    told = status or JobStatus(
        job_id=job_id,
        name=EVIL,
        status="processing",
        detail=EVIL,
        total=100,
        totals=Counts(
            completed=60,
            unavailable=5,
            failed=3,
            records=12_345,
            bytes=10**9,
            by_type={EVIL: 7},
            unavailable_by={EVIL: 5},
            failed_by={"network_error": 3},
            dropped={EVIL: 1},
            errors={"network_error": 9},
        ),
        errors={
            "network_error": ErrorSummary(
                retryable=6,
                permanent=3,
                samples=[ErrorSample(reason=EVIL, detail=EVIL, host=EVIL, did=EVIL, at=NOW)],
            )
        },
        history=[HistoryEntry(at=NOW, event=EVIL, detail=EVIL)],
        submitted_at=NOW,
        started_at=NOW,
        updated_at=NOW,
    )
    board.write(board.names.job_status, job_id, told)
    return told


def hosts(server: ApiServer, job_id: str, number: int) -> list[str]:
    """So many hosts of a job; each has as many accounts as its number."""
    board, names = server.board, []
    for place in range(1, number + 1):
        name = f"https://pds{place:02}.example"
        part = JobHost(job_id=job_id, host=name, planned=place, counts=Counts(completed=place, records=place))
        board.write(board.names.job_hosts, f"{job_id} {name}", part, by=job_id)
        names.append(name)
    return names


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.text


def etag_in(page: str) -> str:
    """The version that a form was made from."""
    return str(next(field["value"] for field in Markup(page).all("input") if field.get("name") == "etag"))
