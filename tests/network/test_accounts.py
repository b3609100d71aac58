"""The accounts and their records: what they must look like for a backfill to be tried on them."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from arroba.util import tid_to_int

from local.network.accounts import Population
from local.network.records import ODD_CREATED_AT
from schemas.errors import ConfigError

POPULATION = Population(seed=1, accounts=60, hosts=4, records=400)
RECORDS = {
    f"{did}/{key}": record
    for number, did in enumerate(POPULATION.dids)
    for key, record in POPULATION.write_records(POPULATION.account(number)).items()
}


def test_dids_and_handles_find_their_account() -> None:
    for number, did in enumerate(POPULATION.dids):
        account = POPULATION.account(number)
        assert re.fullmatch(r"did:plc:[a-z2-7]{24}", did)
        assert POPULATION.find(did) == POPULATION.find(account.handle) == account
    for stranger in ("did:plc:" + "a" * 24, "ada-60.test", "bela-0.test", "ada-x.test", "", "ada-²·test"):
        assert POPULATION.find(stranger) is None


def test_numbers_of_records_scatter_around_the_mean() -> None:
    many = Population(seed=1, accounts=3000, hosts=1, records=300)
    counts = [many.account(number).record_count for number in range(3000)]
    assert 280 < sum(counts) / 3000 < 320
    assert min(counts) < 10
    assert max(counts) > 1500
    even = Population(seed=1, accounts=5, hosts=1, records=300, spread=0)
    assert [even.account(number).record_count for number in range(5)] == [300] * 5
    assert all(len(even.write_records(even.account(number))) == 300 for number in range(5))
    sized = Population(seed=1, accounts=3, hosts=1, records=300, sizes={0: 0, 2: 1234})
    assert sized.write_records(sized.account(0)) == {}
    assert len(sized.write_records(sized.account(2))) == 1234


def test_accounts_are_dealt_to_hosts_or_crowd_on_the_first() -> None:
    dealt = Counter(POPULATION.account(number).host for number in range(60))
    assert dealt == {0: 15, 1: 15, 2: 15, 3: 15}
    crowded = Population(seed=1, accounts=400, hosts=4, records=1, crowding=0.8)
    on_first = sum(crowded.account(number).host == 0 for number in range(400))
    assert 300 < on_first < 380


@pytest.mark.parametrize(
    "wrong", [{"accounts": -1}, {"hosts": 0}, {"records": -1}, {"spread": 1.5}, {"crowding": -0.1}]
)
def test_numbers_that_make_no_network_are_refused(wrong: dict[str, float]) -> None:
    arguments: dict[str, float] = {"accounts": 1, "hosts": 1, "records": 1, **wrong}
    with pytest.raises(ConfigError):
        Population(seed=1, **arguments)  # type: ignore[arg-type]


def test_every_kind_of_record_occurs() -> None:
    kinds = Counter(record["$type"] for record in RECORDS.values())
    for kind in ("feed.post", "feed.like", "feed.repost", "graph.follow", "graph.block", "actor.profile"):
        assert kinds[f"app.bsky.{kind}"] > 20
    assert kinds["com.whtwnd.blog.entry"] > 0
    posts = [record for record in RECORDS.values() if record["$type"] == "app.bsky.feed.post"]
    for field in ("reply", "embed", "facets", "langs", "labels", "tags", "entities"):
        assert any(field in post for post in posts), field
    assert any(not post["text"].isascii() for post in posts)
    assert any(len(post["text"]) > 3000 for post in posts)


def test_rkeys_are_tids_that_ascend_and_lie_before_the_rev() -> None:
    for number in range(10):
        account = POPULATION.account(number)
        collections = [key.split("/") for key in POPULATION.write_records(account)]
        assert collections[0] == ["app.bsky.actor.profile", "self"]
        rkeys = [rkey for _, rkey in collections[1:]]
        assert rkeys == sorted(set(rkeys))
        assert all(tid_to_int(rkey) < tid_to_int(account.rev) for rkey in rkeys)


def test_facets_point_at_their_bytes() -> None:
    found = 0
    for record in RECORDS.values():
        for facet in record.get("facets", ()):
            text = record["text"].encode()[facet["index"]["byteStart"] : facet["index"]["byteEnd"]].decode()
            assert text in ("@somebody.test", "#süß")
            found += 1
    assert found > 0


def test_created_at_is_spread_over_years_and_sometimes_odd() -> None:
    good = re.compile(r"20(23|24|25|26)-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
    years: Counter[str] = Counter()
    odd = set()
    for record in RECORDS.values():
        created_at = record.get("createdAt")
        if isinstance(created_at, str) and good.fullmatch(created_at) and created_at not in ODD_CREATED_AT:
            years[created_at[:4]] += 1
        else:
            odd.add(created_at)
    assert set(years) == {"2023", "2024", "2025", "2026"}
    assert odd == set(ODD_CREATED_AT)
