"""The key `schedule`: five fields, a time zone, and due times as Debian's cron would have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schemas.document import parse_document
from schemas.errors import ConfigError
from schemas.schedule import Schedule

NIGHT = datetime(2026, 11, 25, 3, tzinfo=UTC)


def schedule(cron: str, timezone: str = "UTC") -> Schedule:
    return Schedule(cron=cron, timezone=timezone)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"cron": "0 25 * * *"}, "'25' in '0 25 * * *' is no valid hour"),
        ({"cron": "61 3 * * *"}, "'61' in '61 3 * * *' is no valid minute"),
        ({"cron": "0 3 * * MOO"}, "'MOO' in '0 3 * * MOO' is no valid day-of-week"),
        ({"cron": "0 3 30 2 *"}, "'30' in '0 3 30 2 *' is no valid day-of-month"),
        ({"cron": "0 0 3 * * *"}, "has 6 fields; a cron expression has five: minute, hour,"),
        ({"cron": "@daily"}, "has 1 fields"),
        ({"cron": ""}, "has 0 fields"),
        ({"cron": "0 3 * * *", "timezone": "Europe/Berln"}, "no time zone; did you mean `Europe/Berlin`?"),
        ({"cron": "0 3 * * *", "timezone": "../etc"}, "no time zone"),
        ({"cron": "0 3 * * *", "timezone": "America"}, "no time zone"),
        ({"cron": "0 3 * * *", "missed": "all"}, "one of `skip`, `once`"),
        ({"timezone": "UTC"}, "backfill.schedule.cron: is missing"),
    ],
)
def test_a_mistake_is_named(given: dict[str, str], wrong: str) -> None:
    document = {
        "source": {"type": "handles", "handles": ["bsky.app"]},
        "storage": {"type": "parquet", "path": "out"},
        "schedule": given,
    }
    with pytest.raises(ConfigError) as caught:
        parse_document(document)
    assert wrong in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_next_time_is_later_and_of_that_clock() -> None:
    assert schedule("0 3 * * *").next_after(NIGHT) == NIGHT + timedelta(days=1)
    assert schedule("0 3 * * *").next_after(NIGHT - timedelta(milliseconds=1)) == NIGHT
    assert schedule("0 4 * * *", "Europe/Berlin").next_after(NIGHT - timedelta(hours=1)) == NIGHT
    assert schedule("0  3 *\t* *").cron == "0 3 * * *"


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # Spring: 02:30 does not exist on the 29th; it comes right after the gap.
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        # Autumn: 02:30 comes twice on the 25th and is due once.
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        # An expression of each hour knows no change of clocks.
        ("0 * * * *", "2026-10-24T23:30", ["2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T02:00"]),
    ],
)
def test_changes_of_clocks(cron: str, after: str, expected: list[str]) -> None:
    berlin = schedule(cron, "Europe/Berlin")
    found, at = [], datetime.fromisoformat(after).replace(tzinfo=UTC)
    for _ in expected:
        due = berlin.next_after(at)
        assert due is not None
        found.append(due)
        at = due
    assert [f"{due:%Y-%m-%dT%H:%M}" for due in found] == expected


def test_a_time_is_never_due_again_in_the_hour_that_comes_twice() -> None:
    """Asked in the second 02:10, the next 02:30 is tomorrow's: today's was in the first."""
    second = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    assert schedule("30 2 * * *", "Europe/Berlin").next_after(second) == datetime(
        2026, 10, 26, 1, 30, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("cron", "days", "latest"),
    [
        ("* * * * *", 4000, NIGHT),
        ("0 3 * * *", 1, NIGHT),
        ("0 3 1 * *", 40, datetime(2026, 11, 1, 3, tzinfo=UTC)),
        ("0 3 29 2 *", 4000, datetime(2024, 2, 29, 3, tzinfo=UTC)),
        ("0 3 29 2 *", 40, None),
        ("1 3 * * *", 0.9, None),
    ],
)
def test_the_latest_time_of_a_span_is_found_however_long_it_is(
    cron: str, days: float, latest: datetime | None
) -> None:
    assert schedule(cron).latest_in(NIGHT - timedelta(days=days), NIGHT) == latest
