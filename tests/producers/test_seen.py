"""The table of accounts met: exact whatever accounts are called, and as of the chunk that is asked for."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from producers.seen import SeenAccounts, _account, _key, forget, kept

names = st.one_of(
    st.from_regex(r"did:plc:[a-z2-7.:]{0,6}", fullmatch=True),
    st.from_regex(r"\.?[a-z.:]{0,10}", fullmatch=True),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=10),
)


@given(names, names)
def test_no_two_accounts_share_a_key(one: str, other: str) -> None:
    assert _account(_key(one)) == one
    assert (_key(one) == _key(other)) == (one == other)


def opened(folder: Path, wanted: str | None, chunk: int) -> SeenAccounts:
    return SeenAccounts(folder, "job", name=f"new-{chunk}", wanted=wanted, chunk=chunk)


def test_what_later_chunks_brought_is_taken_out_and_what_was_met_before_stays(tmp_path: Path) -> None:
    table = opened(tmp_path, None, 0)
    name = table.name
    table.add(["did:plc:a", "alice.example"], 1)
    table.add(["did:plc:b", "did:plc:a"], 2)
    table.add(["did:plc:c"], 3)
    everybody = ["did:plc:a", "did:plc:b", "did:plc:c", "alice.example", "did:plc:d"]
    assert table.known(everybody) == set(everybody[:4])
    assert table.known([]) == set()
    table.close()
    for chunk, met in ((3, 4), (1, 2), (1, 2)):
        table = opened(tmp_path, name, chunk)
        assert (table.complete, table.name) == (True, name)
        assert len(table.known(everybody)) == met
        table.close()
    assert kept(tmp_path) == ["job"]
    table = opened(tmp_path, "another", 1)
    assert (table.complete, table.name, table.known(everybody)) == (False, "new-1", set())
    table.close()
    forget(tmp_path, "job")
    assert list(tmp_path.iterdir()) == []
