"""The judge of scopes: deny before allow, hosts by name or origin, domains with all that lies below them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.scope import Scope, ScopeJudge

PDS = "https://pds.example.com"


def judge(allow: dict[str, list[str]] | None = None, deny: dict[str, list[str]] | None = None) -> ScopeJudge:
    return ScopeJudge(Scope.model_validate({"allow": allow or {}, "deny": deny or {}}))


def test_without_lists_everything_lies_inside() -> None:
    scope = judge()
    assert scope.unlimited
    assert not scope.asks_for_hosts
    assert not scope.excludes("did:plc:a", PDS)
    assert not scope.excludes_did("did:plc:a")
    assert not scope.excludes_host(PDS)


@pytest.mark.parametrize(
    ("lists", "matches"),
    [
        ({"hosts": ["pds.example.com"]}, True),
        ({"hosts": ["PDS.example.com"]}, True),
        ({"hosts": ["https://pds.example.com/"]}, True),
        ({"hosts": ["http://pds.example.com"]}, False),
        ({"hosts": ["https://pds.example.com:8443"]}, False),
        ({"hosts": ["example.com"]}, False),
        ({"domains": ["example.com"]}, True),
        ({"domains": [".Example.com"]}, True),
        ({"domains": ["com"]}, True),
        ({"domains": ["ample.com"]}, False),
        ({"domains": ["a.pds.example.com"]}, False),
        ({"dids": ["did:plc:a"]}, True),
        ({"dids": ["did:plc:b"]}, False),
        ({"dids": ["did:plc:b"], "domains": ["example.com"]}, True),
    ],
)
def test_an_entry_of_either_list(lists: dict[str, list[str]], matches: bool) -> None:
    assert judge(deny=lists).excludes("did:plc:a", PDS) is matches
    assert judge(allow=lists).excludes("did:plc:a", PDS) is not matches
    # Denied is denied, though it be allowed.
    assert judge(allow={"dids": ["did:plc:a"]}, deny=lists).excludes("did:plc:a", PDS) is matches


def test_a_name_means_every_port_and_an_origin_its_own() -> None:
    assert judge(deny={"hosts": ["pds.example.com"]}).excludes("did:plc:a", PDS + ":8443")
    assert judge(deny={"hosts": ["127.0.0.1:8000"]}).excludes("did:plc:a", "http://127.0.0.1:8000")
    assert not judge(deny={"hosts": ["127.0.0.1:8000"]}).excludes("did:plc:a", "http://127.0.0.1:8001")


names = st.sampled_from(["did:plc:a", "did:plc:b", "did:plc:c"])
hosts = st.sampled_from(["https://a.x.com", "https://b.x.com", "https://a.y.org", "https://x.com"])
lists = st.fixed_dictionaries(
    {},
    optional={
        "dids": st.lists(names, max_size=2),
        "hosts": st.lists(hosts, max_size=2),
        "domains": st.lists(st.sampled_from(["x.com", "y.org", "org"]), max_size=2),
    },
)


@given(lists, lists, names, hosts)
def test_early_judgements_never_say_more_than_the_whole_one(
    allow: dict[str, list[str]], deny: dict[str, list[str]], did: str, host: str
) -> None:
    scope = judge(allow, deny)
    if scope.excludes_did(did) or scope.excludes_host(host):
        assert scope.excludes(did, host)
    if not scope.asks_for_hosts:
        assert scope.excludes(did, host) == scope.excludes_did(did)
    if scope.unlimited:
        assert not scope.excludes(did, host)
