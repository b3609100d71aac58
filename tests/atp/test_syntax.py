"""Identifiers and timestamps, judged by the protocol's own vectors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp import cid, syntax
from tests.atp.vectors import lines

CHECKS = {
    "did": syntax.is_did,
    "handle": syntax.is_handle,
    "nsid": syntax.is_nsid,
    "recordkey": syntax.is_rkey,
    "tid": syntax.is_tid,
    "aturi": syntax.is_at_uri,
    "datetime": syntax.is_datetime,
    "cid": cid.is_syntax,
}


def cases(kind: str) -> list[tuple[str, str]]:
    return [(name, text) for name in CHECKS for text in lines(f"{name}_syntax_{kind}.txt")]


@pytest.mark.parametrize(("name", "text"), cases("valid"))
def test_valid(name: str, text: str) -> None:
    assert CHECKS[name](text)


@pytest.mark.parametrize(("name", "text"), cases("invalid"))
def test_invalid(name: str, text: str) -> None:
    assert not CHECKS[name](text)


@pytest.mark.parametrize(("name", "text"), [(name, lines(f"{name}_syntax_valid.txt")[0]) for name in CHECKS])
def test_a_line_break_at_the_end_is_no_part_of_an_identifier(name: str, text: str) -> None:
    assert not CHECKS[name](text + "\n")


@pytest.mark.parametrize("text", lines("atidentifier_syntax_valid.txt"))
def test_valid_at_identifiers(text: str) -> None:
    assert syntax.is_did(text) or syntax.is_handle(text)


@pytest.mark.parametrize("text", lines("atidentifier_syntax_invalid.txt"))
def test_invalid_at_identifiers(text: str) -> None:
    assert not syntax.is_did(text)
    assert not syntax.is_handle(text)


@pytest.mark.parametrize(
    "text", [*lines("datetime_parse_invalid.txt"), *lines("datetime_syntax_invalid.txt")]
)
def test_no_instant(text: str) -> None:
    assert syntax.parse_datetime(text) is None


@pytest.mark.parametrize("text", lines("datetime_syntax_valid.txt"))
def test_a_valid_datetime_is_an_instant_unless_python_has_no_such_year(text: str) -> None:
    assert (syntax.parse_datetime(text) is not None) == (not text.startswith("0000"))


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1985-04-12T23:20:50.1235678912345Z", datetime(1985, 4, 12, 23, 20, 50, 123567, UTC)),
        ("1985-04-12T23:20:50.5Z", datetime(1985, 4, 12, 23, 20, 50, 500000, UTC)),
        ("1985-04-12T23:20:50-07:00", datetime(1985, 4, 13, 6, 20, 50, 0, UTC)),
        ("1985-04-12T23:20:50.123+01:45", datetime(1985, 4, 12, 21, 35, 50, 123000, UTC)),
        ("9999-12-31T23:59:59-01:00", None),
        ("1985-04-12T23:59:60Z", None),
        ("1985-04-12T23:20:50+25:00", None),
        ("１９８５-04-12T23:20:50Z", None),
    ],
)
def test_instants(text: str, instant: datetime | None) -> None:
    assert syntax.parse_datetime(text) == instant


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
DATES = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES)


@given(DATES)
def test_an_instant_comes_back_in_utc(instant: datetime) -> None:
    text = instant.isoformat(timespec="microseconds")
    parsed = syntax.parse_datetime(text)
    assert parsed == instant
    assert parsed is not None
    assert parsed.tzinfo is UTC
