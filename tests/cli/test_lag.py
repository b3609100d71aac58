"""`skyfill lag` and `skyfill lag-exporter` against a broker, as a user and as Prometheus see them."""

from __future__ import annotations

import json
import signal
from urllib.request import urlopen

import pytest

from cli.lag import lag_table
from messaging.lag import Lag
from tests.cli.command import Skyfill, until


@pytest.mark.timeout(200)
def test_the_lag_of_a_deployment_at_rest(skyfill: Skyfill) -> None:
    missing = skyfill.run("lag")
    assert (missing.code, "skyfill topics create" in missing.err) == (1, True)
    assert skyfill.run("topics", "create").code == 0

    shown = skyfill.run("lag")
    assert shown.code == 0, shown
    head, *rows = shown.out.splitlines()
    assert head.startswith("group")
    assert head.rstrip().endswith("clear in")
    assert len(rows) == 6
    assert all("all" in row and row.rstrip().endswith("caught up") for row in rows)
    each = skyfill.run("lag", "--partitions", "--every", 1)
    assert len(each.out.splitlines()) == 1 + 1 + 2 * 4 + 1 + 2 * 2

    found = json.loads(skyfill.run("lag", "--json").out)
    assert {place["lag"] for place in found} == {0}
    watching = skyfill.start("lag", "--watch", "--json", "--every", 0.5)
    assert watching.process.stdout is not None
    looks = [json.loads(watching.process.stdout.readline()) for _ in range(2)]
    assert [look[0]["trend_per_second"] for look in looks] == [None, 0.0], "one look is no trend"
    assert watching.end(signal.SIGINT).code == 0

    exporter = skyfill.start("lag-exporter", "--every", 1)
    entry = skyfill.folder / ".skyfill" / "metrics" / "lag-exporter.json"
    until(entry.exists)
    [target] = json.loads(entry.read_text())

    def scraped() -> list[str]:
        with urlopen(f"http://{target['targets'][0]}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return [line for line in lines if line.startswith("skyfill_group_lag_messages{")]

    assert len(until(scraped)) == 1 + 2 * 4 + 1 + 2 * 2
    assert exporter.end(signal.SIGTERM).code == 0
    assert not entry.exists()


def test_the_unknown_is_never_shown_as_zero() -> None:
    unknown = Lag("workers", "dids", 0, None, None, None, None)
    known = Lag("workers", "dids", 1, 10, 1310, 7, -10.0)
    grown = Lag("workers", "dids", 2, 10, 20, 0, 0.0)

    def cells(lags: list[Lag], *, partitions: bool) -> list[list[str]]:
        columns = [list(column.cells) for column in lag_table(lags, partitions).columns]
        return [[str(cell) for cell in row] for row in zip(*columns, strict=True)]

    assert cells([unknown, known, grown], partitions=True) == [
        ["workers", "dids", "0", "unknown", "unknown", "unknown", "", "unknown", "unknown"],
        ["workers", "dids", "1", "10", "1,310", "1,300", "7", "-10.0/s", "about 2 min 10 s"],
        ["workers", "dids", "2", "10", "20", "10", "0", "steady", "does not fall"],
    ]
    [row] = cells([unknown, known], partitions=False)
    assert row[2:6] == ["all 2", "10", "1,310", "1,300 + 1 unknown"]
    assert row[-1] == "unknown"
