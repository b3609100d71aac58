"""What is said to a deployment through Kafka and through the API: the same words, the same exit codes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from cli.jobs import overrides_of
from cli.moments import ahead
from messaging.names import Names
from schemas.backfill import Backfill
from schemas.configs import StoredConfig
from schemas.deadletter import DeadLetter
from schemas.document import load_document
from schemas.errors import ConfigError
from schemas.job_status import Counts, JobStatus
from schemas.jobs import JobMessage
from tests.api.server import ApiServer, settings_for
from tests.atp.hosts import serving
from tests.cli.both_ways import BEGAN, WAYS, Here, Way, partial, rates, said, write_job
from tests.stream_workers.deployment import Reader


@pytest.fixture(scope="module")
def server(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    made = ApiServer(settings_for(kafka, tmp_path_factory.mktemp("both-ways")))
    status, hosts = partial("partly-1")
    write_job(made, status, *hosts)
    running = JobStatus(
        job_id="running-1",
        name="running",
        status="processing",
        total=4000,
        plan_finished=True,
        totals=Counts(completed=1000, records=10_000),
        submitted_at=datetime(2026, 3, 2, tzinfo=UTC),
        started_at=BEGAN,
        updated_at=BEGAN,
    )
    write_job(made, running)
    write_job(
        made,
        running.model_copy(
            update={"job_id": "old-1", "name": "old", "submitted_at": BEGAN.replace(year=2025)}
        ),
    )
    yield made
    made.close()


@pytest.fixture
def here(server: ApiServer, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(server, capsys)


def commands(server: ApiServer, job_id: str) -> list[JobMessage]:
    """What was said about a job, by whoever."""
    reader = Reader(server.settings, server.board.names.jobs)
    found = [JobMessage.decode(m.value or b"") for m in reader.read() if m.key == job_id]
    reader.close()
    return found


REPORT = """\
partly-1: partial_success
100 of 1,000 accounts failed (90 timeout_error and 10 verification_failed); the latest failure was \
HostTimeout at https://a.pds.example. 800 completed, 100 unavailable and 100 failed. The failed ones can be \
tried again.

accounts
planned                        1,000
done                         1,000 (100.0 %)
completed                        800
unavailable                      100
  RepoTakendown                   60
  RepoNotFound                    40
failed                           100
  timeout_error                   90
  verification_failed             10
named again in the source          7
left out of the source: moved      3

records     12,345
bytes       9.9 MB
newest rev  3l3qo2vutsw2c
submitted   2026-03-01 12:00:00 UTC
finished    2026-03-01 13:00:00 UTC

host                   planned  done  unavailable  failed  records   MB     newest rev
https://a.pds.example      500   500            0      90    5,000  0.5  3l3qo2vutsw2c
https://b.pds.example      490   490          100       0    4,900  0.5  3l3qo2vutsw2c
https://solo.test           10    10            0      10      100  0.0  3l3qo2vutsw2c
"""

STATUS = """\
partly-1: partial_success, 1,000 of 1,000 accounts (800 completed, 100 unavailable, 100 failed, 0 retrying), \
12,345 records
100 of 1,000 accounts failed (90 timeout_error and 10 verification_failed); the latest failure was \
HostTimeout at https://a.pds.example. 800 completed, 100 unavailable and 100 failed. The failed ones can be \
tried again.
left out of the source: 3 moved

attempts that failed  to be tried again  the last  for example
timeout_error                       190        90  HostTimeout: it did not answer
verification_failed                   0        10  SignatureInvalid

hosts                    done  planned  failed
*.pds.example (2 hosts)   990      990      90
solo.test                  10       10      10
"""


def lines(text: str) -> list[list[str]]:
    """Words of each line: how far a column reaches is the table's own matter."""
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("way", WAYS)
def test_status_and_report_say_it_all(here: Here, way: Way) -> None:
    shown = here.say(way, "status", "partly-1")
    assert (shown.code, shown.err) == (2, "")
    assert lines(shown.out) == lines(STATUS)
    told = here.say(way, "report", "partly-1")
    assert (told.code, told.err) == (0, "")
    assert lines(told.out) == lines(REPORT)
    machine = json.loads(here.say(way, "report", "partly-1", "--json").out)
    assert (machine["percent_succeeded"], machine["complete"], len(machine["hosts"])) == (90.0, False, 3)
    status = JobStatus.model_validate_json(here.say(way, "status", "partly-1", "--json").out)
    assert status == partial("partly-1")[0]


@pytest.mark.parametrize("way", WAYS)
def test_jobs_are_listed_and_chosen(here: Here, way: Way) -> None:
    shown = here.say(way, "jobs")
    assert [line[:2] for line in lines(shown.out)[1:4]] == [
        ["old-1", "processing"],
        ["partly-1", "partial_success"],
        ["running-1", "processing"],
    ]
    assert "1,000 of 4,000" in shown.out
    assert here.say(way, "status").out == shown.out
    for options, wanted in (
        (("--status", "partial_success"), ["partly-1"]),
        (("--name", "run"), ["running-1"]),
        (("--since", "2026-03-01", "--status", "processing", "--status", "paused"), ["running-1"]),
        (("--name", "nothing"), []),
    ):
        found = here.say(way, "jobs", *options, "--json").out.splitlines()
        assert [json.loads(line)["job_id"] for line in found] == wanted
    assert "there is no status 'done'" in here.say(way, "jobs", "--status", "done").err


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_goes_on_is_watched_to_its_end(here: Here, way: Way) -> None:
    job_id = f"watched-{way}"
    status = partial(job_id)[0].model_copy(update={"status": "complete", "finished_at": BEGAN})
    going = status.model_copy(update={"status": "processing", "total": 2000, "finished_at": None})
    write_job(here.server, going, *partial(job_id)[1])
    names = Names(here.server.settings.kafka.topic_prefix)
    here.server.board.write(names.rates, job_id, rates(job_id, 60))
    once = here.say(way, "status", job_id)
    assert (once.code, "900 of 2,000" in once.out, "*.pds.example (2 hosts)" in once.out) == (0, False, True)
    write_job(here.server, status, *partial(job_id)[1])
    ended = here.say(way, "status", job_id, "--watch", "--json")
    assert ended.code == 0
    assert JobStatus.model_validate_json(ended.out.splitlines()[-1]).status == "complete"


@pytest.mark.parametrize("way", WAYS)
def test_start_and_what_can_be_said_to_a_job(here: Here, way: Way, tmp_path: Path) -> None:
    document = tmp_path / "job.yaml"
    folder = here.server.settings.data_dir / "folder" / way
    storage = f"storage: {{type: parquet, path: {folder}}}"
    document.write_text(f"backfill: {{name: mine, source: {{type: inline, dids: [did:plc:a]}}, {storage}}}")
    started = here.say(way, "start", str(document))
    job_id = started.out.strip()
    assert (started.code, started.err) == (0, "")
    assert re.fullmatch("mine-[0-9a-f]{10}", job_id)
    assert here.say(way, "start", str(document)).out.strip() == job_id
    first = commands(here.server, job_id)[0]
    assert first.backfill is not None
    assert first.backfill["storage"][0]["path"] == str(folder)

    write_job(here.server, JobStatus(job_id=job_id, status="processing", total=9, updated_at=BEGAN))
    for words in (("pause",), ("resume",), ("cancel",), ("cancel", "--force")):
        if words == ("resume",) and way == "api":
            write_job(here.server, JobStatus(job_id=job_id, status="paused", total=9, updated_at=BEGAN))
        told = here.say(way, words[0], job_id, *words[1:])
        assert (told.code, told.out, told.err) == (0, f"{words[0]} sent for {job_id}\n", "")
    turned = [(one.action, one.force) for one in commands(here.server, job_id) if one.action != "start"]
    assert turned == [("pause", False), ("resume", False), ("cancel", False), ("cancel", True)]

    ended = here.say(way, "pause", "partly-1")
    assert (ended.code, ended.out) == (1, "")
    assert "error: job partly-1 has ended (partial_success); there is nothing to pause" in ended.err
    for words in (("status", "nobody"), ("report", "nobody"), ("cancel", "nobody"), ("retry", "no/body")):
        told = here.say(way, *words)
        assert (told.code, told.out) == (1, "")
        assert f"error: there is no job {words[1]}; `skyfill jobs` lists those there are" in told.err


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_document_is_told_line_by_line(here: Here, way: Way, tmp_path: Path) -> None:
    document = tmp_path / "wrong.yaml"
    canary = "canary-literal-secret"
    document.write_text(
        "backfill:\n  source: {type: inline, dids: []}\n  storage: {type: parquet, path: x}\n"
        f"  monitoring:\n    webhooks: [{{url: 'https://h.example', secret: {canary}}}]\n"
    )
    told = here.say(way, "start", str(document))
    assert told.code == 1
    assert f"{document}:2: backfill.source.dids: an empty list does not fit" in told.err
    assert f"{document}:5: backfill.monitoring.webhooks[0].secret: a secret may not stand" in told.err
    assert canary not in told.err + told.out
    for words in (("start",), ("start", str(document), "--config-name", "x")):
        assert "one of the two" in here.say(way, *words).err
    assert "--set belongs to --config-name" in here.say(way, "plan", str(_good(tmp_path)), "--set", "a=1").err
    assert (
        "there is no stored config nowhere"
        in (told := here.say(way, "start", "--config-name", "nowhere").err)
        or "there is no config 'nowhere'" in told
    )


def _good(tmp_path: Path) -> Path:
    document = tmp_path / "good.yaml"
    document.write_text(
        "backfill: {source: {type: inline, dids: [did:plc:a]}, storage: {type: parquet, path: out}}"
    )
    return document


@pytest.mark.parametrize("way", WAYS)
def test_a_stored_config_is_started_with_changes_as_a_new_job_each_time(here: Here, way: Way) -> None:
    names, out = (
        Names(here.server.settings.kafka.topic_prefix),
        here.server.settings.data_dir / "folder" / "o",
    )
    section = {
        "name": "nightly",
        "source": {"type": "inline", "dids": ["did:plc:a"]},
        "storage": [{"type": "parquet", "path": str(out)}],
        "processing": {"requests_per_second": 5},
    }
    stored = StoredConfig(
        name="nightly", backfill=Backfill.model_validate(section), updated_at=BEGAN, updated_by="t"
    )
    here.server.board.write(names.configs, "nightly", stored)
    words = (
        "start",
        "--config-name",
        "nightly",
        "--set",
        "processing.max_retries=7",
        "--set",
        "record_types=[post]",
    )
    first, second = here.say(way, *words), here.say(way, *words)
    assert (first.code, second.code, first.err) == (0, 0, "")
    assert first.out != second.out
    (sent,) = commands(here.server, first.out.strip())
    assert sent.backfill is not None
    kept = Backfill.model_validate(sent.backfill)
    assert (kept.processing.requests_per_second, kept.processing.max_retries) == (5, 7)
    assert kept.record_types == ["post"]
    wrong = here.say(way, *words[:3], "--set", "processing.max_retrys=7")
    assert (wrong.code, "backfill.processing.max_retrys: unknown key" in wrong.err) == (1, True)


@pytest.mark.parametrize("way", WAYS)
def test_configs_are_kept_shown_exported_and_deleted(here: Here, way: Way, tmp_path: Path) -> None:
    document, name = tmp_path / "kept.yaml", f"kept-{way}"
    out = here.server.settings.data_dir / "folder" / "kept"
    document.write_text(
        f"backfill: {{name: {name}, source: {{type: inline, dids: [did:plc:a]}}, record_types: [post], "
        f"storage: {{type: parquet, path: {out}}}, "
        "monitoring: {webhooks: [{url: 'https://h.example/x', secret: '${env:HOOK}'}]}}"
    )
    assert here.say(way, "configs", "put", str(document)).out == f"{name}\n"
    assert here.say(way, "configs", "put", str(document), "--name", f"{name}-2").code == 0
    listed = lines(here.say(way, "configs", "list").out)
    assert [line[:2] for line in listed if line[0].startswith(name)] == [
        [name, "inline"],
        [f"{name}-2", "inline"],
    ]
    shown = here.say(way, "configs", "show", name)
    assert load_document(shown.out) == load_document(document)
    assert "secret: ${env:HOOK}" in shown.out
    folder = tmp_path / "exported"
    assert here.say(way, "configs", "export", str(folder)).code == 0
    assert load_document(folder / f"{name}.yaml") == load_document(document)
    assert here.say(way, "configs", "delete", name).out == f"config {name} is deleted\n"
    for words in (("show", name), ("delete", name), ("show", "../x")):
        gone = here.say(way, "configs", *words)
        assert (gone.code, f"there is no stored config {words[1]};" in gone.err) == (1, True)
    assert "can't name a config" in here.say(way, "configs", "put", str(document), "--name", "../x").err


@pytest.mark.parametrize("way", WAYS)
def test_a_dry_run_says_what_it_would_take_and_starts_nothing(here: Here, way: Way, tmp_path: Path) -> None:
    before = len(commands(here.server, "x"))
    told = here.say(way, "plan", str(_good(tmp_path)))
    assert (told.code, told.err) == (0, "")
    assert ["accounts", "1", "(counted", "one", "by", "one)"] in lines(told.out)
    assert json.loads(here.say(way, "plan", str(_good(tmp_path)), "--json").out)["accounts"] == 1
    assert len(commands(here.server, "x")) == before


@pytest.mark.parametrize("way", WAYS)
def test_tokens_are_made_shown_without_secret_and_taken_back(here: Here, way: Way) -> None:
    made = here.say(way, "token", "create", "--role", "viewer", "--name", "the\x1b night", "--expires", "30d")
    text = made.out.strip()
    assert re.fullmatch("skf_[0-9a-f]{10}_[A-Za-z0-9_-]{43}", text)
    assert text not in made.err
    token_id = text.split("_")[1]
    assert here.say("api", "jobs", token=text).code == 0
    refused = here.say("api", "pause", "running-1", token=text)
    assert (refused.code, "role" in refused.err) == (1, True)
    listed = here.say(way, "token", "list")
    row = next(line for line in listed.out.splitlines() if line.startswith(token_id))
    assert "\x1b" not in row
    assert "night" in row
    assert "viewer" in row
    as_json = [json.loads(line) for line in here.say(way, "token", "list", "--json").out.splitlines()]
    assert any(one["id"] == token_id and "hash" not in one for one in as_json)
    assert text.rsplit("_", 1)[1] not in listed.out
    assert here.say(way, "token", "revoke", token_id).out == f"token {token_id} is revoked\n"
    gone = here.say("api", "jobs", token=text)
    assert (gone.code, "error: the API does not take this token" in gone.err) == (1, True)
    assert text not in gone.err
    assert f"there is no token '{'0' * 10}'" in here.say(way, "token", "revoke", "0" * 10).err
    assert "there is no role 'boss'" in here.say(way, "token", "create", "--role", "boss").err
    assert (
        "lies in the past"
        in here.say(way, "token", "create", "--role", "viewer", "--expires", "2020-01-01").err
    )


def test_what_failed_is_tried_again_through_the_api(here: Here) -> None:
    job_id = "failed-1"
    write_job(here.server, partial(job_id)[0].model_copy(update={"submitted_at": datetime.now(UTC)}))
    names = Names(here.server.settings.kafka.topic_prefix)
    nothing = here.say("api", "retry", job_id)
    assert (nothing.code, "there is no dead letter of failed-1 to replay" in nothing.err) == (1, True)
    letter = DeadLetter(
        stage="fetch",
        error_type="timeout_error",
        reason="HostTimeout",
        job_id=job_id,
        did="did:plc:a",
        at=datetime.now(UTC),
    )
    here.server.board.write(names.deadletter, "did:plc:a", letter)
    told = here.say("api", "retry", job_id)
    assert (told.code, told.out) == (0, f"asked to replay 1 dead letter of {job_id}\n")
    assert commands(here.server, job_id)[-1].action == "replay"
    assert "leave one of them or --api out" in here.say("api", "retry", job_id, "--wait").err


def test_what_is_wrong_with_the_way_there_is_told(here: Here, tmp_path: Path) -> None:
    without = said(here.capsys, {"SKYFILL_API_URL": here.server.url}, "jobs")
    assert (without.code, "set SKYFILL_API_TOKEN" in without.err) == (1, True)
    wrong = here.say("api", "jobs", token="canary-token")
    assert (wrong.code, "does not take this token" in wrong.err) == (1, True)
    assert "canary" not in wrong.err + wrong.out
    both = here.say("api", "jobs", "--data", str(tmp_path))
    assert "give one of the two" in both.err
    for url, told in (
        ("ftp://x", "is no URL of an API"),
        ("https://user:canary@x", "is no URL of an API"),
        ("http://127.0.0.1:9", "see that `skyfill api` runs there"),
    ):
        ended = here.say("api", "jobs", "--api", url)
        assert (ended.code, told in ended.err) == (1, True), ended
        assert "canary" not in ended.err
    assert "characters that no token has" in here.say("api", "jobs", token="schlüssel").err


async def test_a_server_that_is_no_api_is_told(here: Here) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="<html>", status=200 if "status" in request.path else 502)

    async with serving(answer) as host:
        for words in (("jobs",), ("status", "x")):
            told = await asyncio.to_thread(here.say, "api", *words, "--api", host.url)
            assert (told.code, "no answer of the API" in told.err) == (1, True)


@pytest.mark.parametrize(
    ("changes", "made"),
    [
        ([], {}),
        (["a.b=1", "a.c=[x, y]", "d="], {"a": {"b": 1, "c": ["x", "y"]}, "d": None}),
        (["backfill.a=text with = in it"], {"a": "text with = in it"}),
    ],
)
def test_changes_as_they_are_typed(changes: list[str], made: dict[str, object]) -> None:
    assert overrides_of(changes) == made


@pytest.mark.parametrize("change", [["a"], ["=1"], ["a..b=1"], ["a=["], ["a=1", "a.b=2"]])
def test_what_is_no_change_is_told(change: list[str]) -> None:
    with pytest.raises(ConfigError, match="--set"):
        overrides_of(change)


def test_a_time_ahead() -> None:
    assert ahead("2h", BEGAN) == BEGAN.replace(hour=14)
    assert ahead("2027-01-01", BEGAN).year == 2027
    with pytest.raises(ConfigError, match="lies in the past"):
        ahead("2020-01-01", BEGAN)


def test_the_variables_of_the_api_are_no_misspelt_settings(here: Here) -> None:
    env = {"SKYFILL_API_URL": "http://127.0.0.1:9", "SKYFILL_API_TOKEN": "x", "SKYFILL_API_TOKN": "x"}
    assert said(here.capsys, env, "network", "--ready", "/nowhere/x").err.startswith("error: /nowhere is no")
    wrong = said(here.capsys, env | {"SKYFILL_API__PROT": "1"}, "network", "--ready", "/nowhere/x")
    assert "did you mean SKYFILL_API__PORT?" in wrong.err
