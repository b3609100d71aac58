"""Points of the past for charts: thinned out, bounded, read back after a restart; gaps where nothing was."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import pairwise

from confluent_kafka import Producer

from messaging.rates_history import (
    COARSE_SECONDS,
    FINE_FOR_SECONDS,
    FINE_SECONDS,
    KEPT_SECONDS,
    MOST_JOBS,
    RatePoint,
    RateSeries,
    RatesHistory,
)
from schemas.rates import JobRates, RateWindow
from schemas.settings import KafkaSettings
from tests.messaging.broker import eventually, make_topic


def point(at: float, pace: float = 1.0) -> RatePoint:
    return RatePoint(at, pace * 100, pace, pace * 1e6, 0.0)


def test_points_are_fine_for_an_hour_and_coarse_for_a_day() -> None:
    series, began = RateSeries(), 1_000_000.0
    for number in range(int(2 * KEPT_SECONDS / 2)):  # as the rates process tells it: every two seconds
        series.add(point(began + 2 * number))
    last = began + 2 * KEPT_SECONDS - 2
    times = [found.at for found in series.points()]
    assert times == sorted(set(times))
    assert last - FINE_SECONDS < times[-1] <= last
    assert times[0] >= times[-1] - KEPT_SECONDS
    fine = [at for at in times if at > times[-1] - FINE_FOR_SECONDS]
    assert {b - a for a, b in pairwise(fine)} == {FINE_SECONDS}
    coarse = [at for at in times if at < times[-1] - FINE_FOR_SECONDS]
    assert {b - a for a, b in pairwise(coarse)} == {COARSE_SECONDS}
    assert len(times) <= FINE_FOR_SECONDS / FINE_SECONDS + KEPT_SECONDS / COARSE_SECONDS + 2
    assert [found.at for found in series.points(since=times[-3])] == times[-2:]


def test_what_comes_too_early_or_out_of_order_is_left_out() -> None:
    series = RateSeries()
    series.add(point(1000))
    series.add(point(1000 + FINE_SECONDS / 2))
    series.add(point(500))
    series.add(point(1000 + FINE_SECONDS, pace=3))
    assert [(found.at, found.repositories) for found in series.points()] == [
        (1000, 1),
        (1000 + FINE_SECONDS, 3),
    ]


def rates(job_id: str, records: float, errors: int = 0) -> JobRates:
    window = RateWindow(
        seconds=60,
        covered_seconds=60,
        repositories=60,
        repositories_per_second=1,
        records_per_second=records,
        errors={"network_error": errors} if errors else {},
    )
    return JobRates(job_id=job_id, windows=[window], updated_at=datetime.now(UTC))


def write(kafka: str, topic: str, messages: list[tuple[str, bytes, float]]) -> None:
    """Key, value and age of each."""
    producer, now = Producer({"bootstrap.servers": kafka}), time.time()
    for key, value, age in messages:
        producer.produce(topic, value, key, partition=0, timestamp=int((now - age) * 1000))
    assert producer.flush(30) == 0


def test_the_past_is_read_back_and_the_present_follows(kafka: str, prefix: str) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=prefix)
    make_topic(kafka, topic := f"{prefix}rates", 2)
    past = [("a", rates("a", 100.0, errors=30).encode(), 600.0), ("a", rates("a", 1.0).encode(), 598.0)]
    past += [("a", b"no rates", 500.0), ("a", rates("b", 1.0).encode(), 490.0)]
    past += [("a", rates("a", 200.0).encode(), 300.0), ("b", rates("b", 5.0).encode(), 300.0)]
    write(kafka, topic, past)

    history = RatesHistory(settings)
    try:
        assert history.of("a") == [], "nothing is read before the first refresh"
        eventually(lambda: (history.refresh(0.2), history.read_back)[1])
        found = history.of("a")
        assert [(at.records, at.errors) for at in found] == [(100.0, 0.5), (200.0, 0.0)]
        assert [at.records for at in history.of("b")] == [5.0]
        assert history.of("unknown") == []

        write(kafka, topic, [("a", rates("a", 300.0).encode(), 0.0)])
        eventually(lambda: (history.refresh(0.2), len(history.of("a")) == 3)[1])
        assert [at.records for at in history.of("a", since=found[-1].at)] == [300.0]

        others = [(f"j{n}", rates(f"j{n}", 1.0).encode(), 0.0) for n in range(MOST_JOBS)]
        write(kafka, topic, others)
        eventually(lambda: (history.refresh(0.2), bool(history.of(f"j{MOST_JOBS - 1}")))[1])
        assert history.of("b") == [], "the job that was quiet for longest makes room"
    finally:
        history.close()


def test_without_the_topic_there_is_nothing_to_tell(kafka: str, prefix: str) -> None:
    history = RatesHistory(KafkaSettings(bootstrap_servers=kafka, topic_prefix=prefix))
    try:
        history.refresh(0.01)
        assert history.read_back
        assert history.of("a") == []
    finally:
        history.close()
