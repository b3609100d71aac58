"""Addresses and origins: which of them a stranger may send us to."""

from __future__ import annotations

import socket

import pytest
from yarl import URL

from atp import net
from schemas.errors import AddressForbidden, IdentityIncomplete

PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2001:0:7f00:1::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "100::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    assert not net.is_public(address)
    with pytest.raises(net.ForbiddenConnection):
        net.guarded_socket((socket.AF_INET6, socket.SOCK_STREAM, 0, "", (address, 443, 0, 0)))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert net.is_public(address)
    net.guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 443))).close()


@pytest.mark.parametrize(
    "url",
    [
        "http://pds.example",
        "ftp://pds.example",
        "https://user@pds.example",
        "https://:password@pds.example",
        "https://localhost",
        "https://LOCALHOST.",
        "https://intranet:8080",
        "https://2130706433",
        "https://127.1",
        "https://0x7f.0.0.0x1",
        "https://0177.0.0.1",
        *(f"https://[{address}]" for address in PRIVATE if ":" in address),
        *(f"https://{address}:8080/path" for address in PRIVATE if ":" not in address),
    ],
)
def test_urls_that_no_stranger_may_name(url: str) -> None:
    with pytest.raises(AddressForbidden):
        net.check_url(URL(url))


@pytest.mark.parametrize(
    "url", ["https://pds.example", "https://1.1.1.1:444/a?b#c", "https://[2606:4700::1]"]
)
def test_urls_that_a_stranger_may_name(url: str) -> None:
    net.check_url(URL(url))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:2583", "http://localhost", "https://[::1]", "http://pds:80"]
)
def test_private_hosts_are_fine_where_they_are_allowed(url: str) -> None:
    net.check_url(URL(url), allow_private=True)


@pytest.mark.parametrize("url", ["ftp://pds.example", "file:///etc/passwd", "http://user@localhost"])
def test_some_urls_are_never_fine(url: str) -> None:
    with pytest.raises(AddressForbidden):
        net.check_url(URL(url), allow_private=True)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://pds.example", "https://pds.example"),
        ("https://PDS.Example/", "https://pds.example"),
        ("https://pds.example.", "https://pds.example"),
        ("https://pds.example:443/xrpc?a=b#c", "https://pds.example"),
        ("https://pds.example:8443", "https://pds.example:8443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://XN--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://8.8.8.8", "https://8.8.8.8"),
        ("https://[2606:4700:0::1]:444", "https://[2606:4700::1]:444"),
    ],
)
def test_a_host_has_one_origin(url: str, origin: str) -> None:
    assert net.canonical_origin(url) == origin
    assert net.canonical_origin(origin) == origin


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://localhost:2583", "http://localhost:2583"),
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("http://[0:0::1]:8080", "http://[::1]:8080"),
    ],
)
def test_private_origins(url: str, origin: str) -> None:
    assert net.canonical_origin(url, allow_private=True) == origin
    with pytest.raises(AddressForbidden):
        net.canonical_origin(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pds.example",
        "//pds.example",
        "https://",
        "https:///path",
        "https://.",
        "https://a..b",
        "https://-a.example",
        "https://a b.example",
        "https://a.example:port",
        "https://a.example:99999",
        "https://a.example:0",
        "https://[::1",
        "https://" + "a." * 130 + "example",
        "https://" + "a" * 64 + ".example",
        "ftp://pds.example",
        "javascript:alert(1)",
        "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        "https://\ud800.example",
    ],
)
@pytest.mark.parametrize("allow_private", [False, True])
def test_what_is_not_the_url_of_a_host(url: str, allow_private: bool) -> None:
    with pytest.raises(IdentityIncomplete):
        net.canonical_origin(url, allow_private=allow_private)


@pytest.mark.parametrize("url", ["https://user@pds.example", "https://u:p@pds.example", "http://pds.example"])
def test_origins_that_are_refused(url: str) -> None:
    with pytest.raises(AddressForbidden):
        net.canonical_origin(url)
