"""What people are told of a job: true of its history, in whole sentences, and never with a secret."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.explain import explain
from schemas.job_status import JobStatus
from schemas.report import completeness
from stream_workers.tracker.status import status_of
from stream_workers.tracker.waiting import grow_stale
from tests.stream_workers.test_book import AT, SUBMITTED, Entry, booked, event, plan, status, went

MOVED = plan(0).model_copy(update={"left_out": {"moved": 4}})
FORCED = event("cancelled").model_copy(update={"forced": True})
SCHEDULED = event("scheduled", "next run 2026-01-02 03:00 UTC, none so far")
LOST = {"reason": "HostTimeout", "error_type": "timeout_error", "host": "https://two.test"}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([SUBMITTED], "It waits for the planner: jobs take turns, and none of its accounts is planned yet."),
        (
            [SUBMITTED, SCHEDULED],
            "It is a schedule: next run 2026-01-02 03:00 UTC, none so far.",
        ),
        (
            [SUBMITTED, SCHEDULED, event("paused")],
            "It is a schedule, and paused: next run 2026-01-02 03:00 UTC, none so far.",
        ),
        (
            [SUBMITTED, SCHEDULED, event("cancelled"), plan(0)],
            "It is a schedule, and cancelled: next run 2026-01-02 03:00 UTC, none so far.",
        ),
        (
            [SUBMITTED, plan(0, finished=False)],
            "Its source is being read, and its accounts are looked up; none of them is planned yet.",
        ),
        (
            [SUBMITTED, plan(3, finished=False), went("a", "completed")],
            (
                "1 of 3 accounts planned so far is done. Its source is still being read, so there may "
                "be more to come."
            ),
        ),
        (
            [SUBMITTED, plan(1200), went("a", "failed"), went("b", "completed")],
            "2 of 1,200 accounts are done. 1,198 accounts are left.",
        ),
        (
            [SUBMITTED, plan(3), went("a", "completed"), went("b", "retrying")],
            "1 of 3 accounts is done. 2 accounts are left, 1 of them to be tried again after a failure.",
        ),
        (
            [SUBMITTED, plan(2), went("a", "completed"), went("b", "retrying", due_at=AT)],
            (
                "1 of 2 accounts is done. 1 account that failed before is left, and will be tried "
                "again, the last at 2026-01-01 00:00 UTC."
            ),
        ),
        (
            [SUBMITTED, event("paused")],
            "It is paused before any of its accounts was planned; resume it to go on.",
        ),
        (
            [SUBMITTED, plan(4), went("a", "completed"), event("paused")],
            "It is paused, 1 of 4 accounts done; resume it to go on.",
        ),
        (
            [SUBMITTED, plan(2), went("a", "completed"), went("b", "completed")],
            "All of its 2 accounts are completed.",
        ),
        ([SUBMITTED, plan(0)], "Its source names no account, so there was nothing to do."),
        (
            [SUBMITTED, MOVED],
            (
                "Its source names no account, so there was nothing to do. It held what is no account "
                "of the job: 4 moved."
            ),
        ),
        (
            [SUBMITTED, plan(3), went("a", "completed"), went("b", "skipped"), went("c", "unavailable")],
            (
                "All of its 3 accounts are done. 1 completed, 1 skipped and 1 unavailable. "
                "Unavailable means that there is nothing to fetch: 1 RepoTakendown."
            ),
        ),
        (
            [SUBMITTED, plan(3), went("a", "completed"), went("b", "failed"), went("c", "failed", **LOST)],
            (
                "2 of 3 accounts failed (1 network_error and 1 timeout_error); the latest failure was "
                "HostTimeout at https://two.test. 1 completed and 2 failed. The failed ones can be "
                "tried again."
            ),
        ),
        (
            [SUBMITTED, plan(1), went("a", "failed")],
            (
                "1 of 1 account failed (1 network_error); the latest failure was HostUnreachable at "
                "https://one.test. Not one succeeded; once the cause is mended, they can be tried "
                "again."
            ),
        ),
        (
            [SUBMITTED, event("source_failed", "no such file: accounts.csv")],
            "Its source gave no account to fetch: no such file: accounts.csv.",
        ),
        (
            [SUBMITTED, plan(1, finished=False), event("source_failed", "the relay went away"), plan(1)],
            (
                "Its source could not be read to the end: the relay went away. Of 1 account planned "
                "before that, 1 are still to be done."
            ),
        ),
        (
            [
                SUBMITTED,
                plan(2, finished=False),
                event("source_failed", "the relay went away"),
                went("a", "completed"),
                went("b", "completed"),
            ],
            (
                "Its source failed half-way: the relay went away. That was after 2 accounts were "
                "planned; those were fetched. 2 completed."
            ),
        ),
        ([event("rejected", "no `storage`")], "It was refused: no `storage`."),
        (
            [SUBMITTED, event("cancelled"), plan(0)],
            "It was cancelled before it started: none of its accounts was planned.",
        ),
        (
            [SUBMITTED, plan(3), event("cancelled"), went("a", "completed")],
            "It is being cancelled; 2 accounts planned before that are still to end.",
        ),
        (
            [SUBMITTED, plan(2), event("cancelled"), went("a", "cancelled"), went("b", "cancelled")],
            "It was cancelled before any of its 2 accounts was fetched.",
        ),
        (
            [SUBMITTED, plan(2), event("cancelled"), went("a", "completed"), went("b", "cancelled")],
            "It was cancelled after 1 of 2 accounts planned. 1 completed and 1 cancelled.",
        ),
        (
            [SUBMITTED, plan(3), went("a", "completed"), FORCED],
            "It was cancelled after 1 of 3 accounts planned. 1 completed. 2 accounts were still under way.",
        ),
    ],
)
def test_a_sentence_says_how_a_job_stands_and_why(entries: list[Entry], expected: str) -> None:
    assert explain(status(*entries)) == expected


def stale(*entries: Entry) -> JobStatus:
    ledger = booked(*entries).ledger
    assert grow_stale(ledger, AT + timedelta(hours=2), timedelta(minutes=10))
    return status_of(ledger, AT)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([SUBMITTED], "it waits to be planned. See whether a planner"),
        ([SUBMITTED, plan(0, finished=False)], "it waits for the rest of its plan. See whether a planner"),
        ([SUBMITTED, plan(2)], "it waits for 2 accounts. Either their hosts are down, or no worker"),
        (
            [SUBMITTED, plan(2), went("a", "failed"), went("b", "retrying", **LOST)],
            (
                "it waits for 1 account to be tried again, and the latest failure was HostTimeout at "
                "https://two.test. Either"
            ),
        ),
    ],
)
def test_a_stale_job_says_what_it_waits_for(entries: list[Entry], expected: str) -> None:
    sentence = explain(stale(*entries))
    assert sentence.startswith("Nothing has come for it since 2026-01-01 00:00 UTC, though work is due: ")
    assert expected in sentence


def test_no_secret_of_a_source_or_a_host_is_told() -> None:
    secret = "https://user:hunter2@files.test/list.csv?X-Amz-Signature=hunter2&token=hunter2 Bearer hunter2"
    failed = went("a", "failed", detail=secret)
    found = status(SUBMITTED, plan(1), failed, event("ignored", secret), event("noted", secret))
    lost = status(SUBMITTED, event("source_failed", f"{secret} is gone"))
    assert "files.test/list.csv" in explain(lost)
    for told in (explain(lost), found.encode().decode(), lost.encode().decode()):
        assert "hunter2" not in told


def test_the_report_accounts_for_everything_planned_by_host_and_in_all() -> None:
    one, two = "https://one.test", "https://two.test"
    book = booked(
        SUBMITTED,
        plan(2000, finished=False).model_copy(update={"hosts": {one: 1998, two: 2}}),
        plan(2001).model_copy(update={"hosts": {two: 1}}),
        *(went(f"{n}", "completed", rev="3l3qo2vutsw2b") for n in range(1997)),
        went("x", "unavailable", host=two),
        went("y", "failed", host=two),
        went("z", "completed", host=two, rev="3l3qo2vuttw2b"),
    )
    report = completeness(status_of(book.ledger, AT), book.hosts)
    assert (report.planned, report.done, report.complete, report.plan_finished) == (2001, 2000, False, True)
    assert (report.percent_done, report.percent_succeeded) == (99.9, 99.9), "nearly all is not all"
    assert (report.unavailable_by, report.failed_by) == ({"RepoTakendown": 1}, {"network_error": 1})
    assert [(host.host, host.planned, host.done) for host in report.hosts] == [(one, 1998, 1997), (two, 3, 3)]
    assert [host.newest_rev for host in report.hosts] == ["3l3qo2vutsw2b", "3l3qo2vuttw2b"]
    assert report.newest_rev == "3l3qo2vuttw2b"
    assert report.hosts[1].percent_done == 100
    for figure in ("completed", "unavailable", "failed", "records", "bytes"):
        assert getattr(report, figure) == sum(getattr(host, figure) for host in report.hosts)


@pytest.mark.parametrize(
    ("entries", "complete"),
    [
        ([SUBMITTED, plan(0)], True),
        ([SUBMITTED, plan(2), went("a", "skipped"), went("b", "unavailable")], True),
        ([SUBMITTED, plan(2), went("a", "completed")], False),
        ([SUBMITTED, plan(1), went("a", "failed")], False),
        ([SUBMITTED, event("cancelled"), plan(0)], False),
        ([SUBMITTED, plan(1, finished=False), event("source_failed", "x"), went("a", "completed")], False),
    ],
)
def test_complete_is_said_only_of_a_job_that_is(entries: list[Entry], complete: bool) -> None:
    assert completeness(status(*entries), {}).complete is complete
