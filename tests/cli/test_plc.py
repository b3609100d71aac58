"""`skyfill plc` as a user has it: sync, import, status, show, and what it says when something is wrong."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from urllib.request import urlopen

import pytest

from atp.plc import Position
from atp.plc_sync import Progress
from atp.plc_writer import MirrorWriter
from cli.plc import progress_line
from tests.cli.command import Ended, Served, Skyfill, environment, until

STRANGER = "did:plc:" + "a" * 24


@pytest.fixture
def mirroring(tmp_path: Path, network: Served) -> Skyfill:
    """Commands that know the network's directory."""
    return Skyfill(tmp_path, settings(network.plc_url))


def settings(plc_url: str, **more: str) -> dict[str, str]:
    return environment(NETWORK__PLC_URL=plc_url, NETWORK__PLC_REQUESTS_PER_SECOND="1000", **more)


def rows(ended: Ended) -> dict[str, str]:
    """A table of two columns."""
    assert (ended.code, ended.err) == (0, "")
    pairs = [line.strip().split("  ", 1) for line in ended.out.splitlines() if line.strip()]
    return {name: value.strip() for name, value in pairs}


def refused(ended: Ended, *words: str) -> None:
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err


def test_a_first_sync_and_what_is_told_of_it(mirroring: Skyfill, network: Served) -> None:
    first = mirroring.run("plc", "sync")
    assert first.code == 0, first.err
    assert "first sync of the whole network takes about 15 hours" in first.err
    assert "Jobs may start meanwhile" in first.err
    assert first.out == "caught up: 43 operations read; 40 DIDs in .skyfill/plc.sqlite\n"

    shown = rows(mirroring.run("plc", "status"))
    assert (shown["of"], shown["operations read"], shown["DIDs"]) == (network.plc_url, "43", "40")
    assert shown["position"].startswith("operation 43, 2023-01-01 ")
    assert shown["caught up"].endswith("UTC")
    told = json.loads(mirroring.run("plc", "status", "--json").out)
    assert (told["seq"], told["dids"], told["mirror"]) == (43, 40, ".skyfill/plc.sqlite")
    assert told["bytes"] > 0

    account = next(account for account in network.accounts if account.state == "ok")
    shown = rows(mirroring.run("plc", "show", account.did))
    assert shown["handle"] == network.handle(account)
    assert shown["signing key"].startswith("did:key:z")
    assert shown["last operation"].startswith("number ")
    refused(mirroring.run("plc", "show", STRANGER), STRANGER, "not in the mirror", "skyfill plc status")
    refused(mirroring.run("plc", "show", "alice.example"), "no did:plc")

    again = mirroring.run("plc", "sync", "--once", "--data", ".skyfill")
    assert again.out == "caught up: 0 operations read; 40 DIDs in .skyfill/plc.sqlite\n"
    assert "first sync" not in again.err


def test_an_import_then_following_until_it_is_stopped(mirroring: Skyfill, network: Served) -> None:
    with urlopen(f"{network.plc_url}/export?after=0&count=30") as answer:
        (mirroring.folder / "log.jsonl").write_bytes(answer.read())
    done = mirroring.run("plc", "import", "log.jsonl")
    expected = "log.jsonl: 30 operations read, 0 were there. The mirror: .skyfill/plc.sqlite\n"
    assert (done.code, done.out) == (0, expected)
    following = mirroring.start("plc", "sync", "--follow")
    until(lambda: json.loads(mirroring.run("plc", "status", "--json").out)["caught_up"])
    refused(mirroring.run("plc", "sync"), "another sync or import writes the mirror .skyfill/plc.sqlite")
    refused(mirroring.run("plc", "import", "log.jsonl"), "another sync or import")
    ended = following.end(signal.SIGINT)
    assert (ended.code, ended.out) == (0, "")
    assert "stopped; the same command goes on" in ended.err
    assert json.loads(mirroring.run("plc", "status", "--json").out)["operations"] == 43


def test_mistakes(mirroring: Skyfill, network: Served, tmp_path: Path) -> None:
    refused(mirroring.run("plc", "status"), "there is no mirror at .skyfill/plc.sqlite", "skyfill plc sync")
    refused(mirroring.run("plc", "import", "nowhere.jsonl"), "nowhere.jsonl does not exist")
    (tmp_path / "names.csv").write_text("did\n")
    refused(mirroring.run("plc", "import", "names.csv"), "line 1 is not JSON", "/export")
    (tmp_path / "other.txt").write_text("no database " * 100)
    elsewhere = Skyfill(tmp_path, settings(network.plc_url, NETWORK__PLC_MIRROR="other.txt"))
    refused(elsewhere.run("plc", "sync"), "other.txt is not a mirror", "SKYFILL_NETWORK__PLC_MIRROR")
    MirrorWriter(tmp_path / "theirs.sqlite", "https://plc.example").close()
    theirs = Skyfill(tmp_path, settings(network.plc_url, NETWORK__PLC_MIRROR="theirs.sqlite"))
    refused(theirs.run("plc", "sync"), "mirrors https://plc.example, not", "SKYFILL_NETWORK__PLC_URL")


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(None, 0, 0.0, None, False), "0 operations"),
        (
            Progress(Position(5, 1_672_531_200_000), 5000, 1660.4, 54_000.0, False),
            "5,000 operations, 1,660/s, at 2023-01-01 00:00:00 UTC, about 15 h left",
        ),
        (
            Progress(Position(5, 1_672_531_200_000), 5, 0.0, None, False, "no answer"),
            "5 operations, at 2023-01-01 00:00:00 UTC, trying again: no answer",
        ),
        (
            Progress(Position(5, 0), 5, 1.0, 0.0, True),
            "5 operations, 1/s, at 1970-01-01 00:00:00 UTC, caught up",
        ),
    ],
)
def test_progress_on_a_line(progress: Progress, line: str) -> None:
    assert progress_line(progress) == line
