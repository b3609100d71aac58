"""Figures for people: what is not known is never shown as nothing."""

from __future__ import annotations

import pytest

from schemas.words import counted, ranked, size, span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.25, "250 ms"),
        (3.14, "3.1 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (11_520, "3 h 12 min"),
        (86_400 * 2 + 3600, "2 d 1 h"),
        (86_400 * 400 + 3600, "400 d"),
    ],
)
def test_spans_have_their_two_largest_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_sizes_are_in_powers_of_a_thousand() -> None:
    assert [size(value) for value in (999, 1000, 2.5e9, 1e13)] == ["999 B", "1.0 kB", "2.5 GB", "10.0 TB"]


def test_what_is_not_known_is_never_zero() -> None:
    assert (size(None), span(None)) == ("–", "–")
    assert (size(0), span(0)) == ("0 B", "0 s")
    assert [counted(number, "row", "rows") for number in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]


def test_counts_come_largest_first() -> None:
    assert ranked({"b": 1, "a": 1, "c": 5}) == [("c", 5), ("a", 1), ("b", 1)]
    assert ranked(None) == []
