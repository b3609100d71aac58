"""When a job is started again and again: the key `schedule` of a document.

The times are those of a cron expression in a time zone, daylight saving included as Debian's cron treats it:
a time that a change of clocks skips comes right after it, one that it repeats comes once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from schemas.section import Section

_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_FIRST_LOOK_BACK = timedelta(days=2)
_ANY = datetime(2026, 1, 1, tzinfo=UTC)


class Schedule(Section):
    """Makes a job of its own at each due time; absent: the document is one job."""

    cron: str = Field(
        max_length=200,
        description="When: minute, hour, day of the month, month and day of the week, as in a crontab.",
    )
    timezone: str = Field("UTC", max_length=64, description="Whose clock that is, e.g. `Europe/Berlin`.")
    missed: Literal["skip", "once"] = Field(
        "skip",
        description="Of runs that fell due while no planner ran, the schedule was paused, or the run before "
        "was still going on: `skip` leaves them out, `once` makes up for all of them by one, at once.",
    )

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, cron: str) -> str:
        fields = cron.split()
        if len(fields) != len(_FIELDS):
            raise ValueError(
                f"{cron!r} has {len(fields)} fields; a cron expression has five: {', '.join(_FIELDS)}"
            )
        try:
            times = CronSim(cron, _ANY)
        except CronSimError as error:
            field = str(error).removeprefix("Bad ")
            raise ValueError(f"{fields[_FIELDS.index(field)]!r} in {cron!r} is no valid {field}") from error
        if next(times, None) is None:
            raise ValueError(f"{cron!r} names a day that never comes")
        return " ".join(fields)

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            near = get_close_matches(timezone, available_timezones(), 1) or ["Europe/Berlin"]
            raise ValueError(f"{timezone!r} is no time zone; did you mean `{near[0]}`?") from error
        return timezone

    def next_after(self, instant: datetime) -> datetime | None:
        """The first due time after `instant`, in UTC; None: there is none for fifty years."""
        zone = UTC if self.timezone == "UTC" else ZoneInfo(self.timezone)
        times = (due.astimezone(UTC) for due in CronSim(self.cron, instant.astimezone(zone)))
        return next((due for due in times if due > instant), None)  # an hour that comes twice is no later

    def latest_in(self, after: datetime, until: datetime) -> datetime | None:
        """The last due time after `after` that is not later than `until`, in UTC; None: there is none.

        However far `after` lies back, not many more times are looked at than the last few days have.
        """
        back = _FIRST_LOOK_BACK
        while True:
            begin = max(after, until - back)
            found, due = None, self.next_after(begin)
            while due is not None and due <= until:
                found, due = due, self.next_after(due)
            if found is not None or begin == after:
                return found
            back *= 4
