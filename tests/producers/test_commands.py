"""What each command means for a job as it stands; and that nothing sent to the topic can do harm."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.clients import MESSAGE_BYTES
from producers.commands import Known, Verdict, is_job_id, job_id_of, judge
from schemas.backfill import Backfill
from schemas.deadletter import LetterId
from schemas.job_specs import JobSpec, JobState
from schemas.outcomes import PlanOutcome
from schemas.plans import PlanCheckpoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FOLDER = Path("/somewhere")
DOCUMENT: dict[str, Any] = {
    "name": "mine",
    "source": {"type": "file", "path": "accounts.txt"},
    "storage": {"type": "parquet", "path": "out"},
}
CHECKPOINT = PlanCheckpoint(job_id="job", cursor="7", chunk=3, planned=5, duplicates=2, left_out={"moved": 1})


def known(state: JobState = "active", *, final: bool = False) -> Known:
    backfill = Backfill.model_validate(DOCUMENT).absolute(FOLDER)
    spec = JobSpec(job_id="job", backfill=backfill, state=state, submitted_at=NOW)
    return Known(spec, CHECKPOINT, final)


REJECTED = Known(None, PlanCheckpoint(job_id="job", finished=True))


def said(value: dict[str, Any] | bytes | None, job: Known | None = None, key: str = "job") -> Verdict:
    text = orjson.dumps(value) if isinstance(value, dict) else value
    return judge(key, 12, text, job, now=NOW, folder=FOLDER)


def test_a_start_makes_a_job_whose_paths_are_whole() -> None:
    verdict = said({"backfill": DOCUMENT})
    assert verdict.spec is not None
    assert verdict.spec.state == "active"
    assert verdict.spec.submitted_at == NOW
    assert verdict.spec.backfill.source.path == "/somewhere/accounts.txt"  # type: ignore[union-attr]
    assert (verdict.event.event, verdict.event.name, verdict.event.at) == ("submitted", "mine", NOW)
    assert (verdict.dead_letter, verdict.checkpoint, verdict.plan) == (None, None, None)


@pytest.mark.parametrize(
    ("action", "state", "final", "event", "new_state", "dead_letter"),
    [
        ("pause", "active", False, "paused", "paused", False),
        ("pause", "paused", False, "ignored", None, False),
        ("pause", "cancelled", False, "ignored", None, True),
        ("pause", "active", True, "ignored", None, True),
        ("resume", "paused", False, "resumed", "active", False),
        ("resume", "active", False, "ignored", None, False),
        ("resume", "cancelled", False, "ignored", None, True),
        ("resume", "paused", True, "ignored", None, True),
        ("cancel", "active", False, "cancelled", "cancelled", False),
        ("cancel", "paused", False, "cancelled", "cancelled", False),
        ("cancel", "cancelled", False, "ignored", None, False),
        ("cancel", "cancelled", True, "ignored", None, False),
        ("cancel", "active", True, "ignored", None, True),
    ],
)
def test_pause_resume_and_cancel(
    action: str, state: JobState, final: bool, event: str, new_state: str | None, dead_letter: bool
) -> None:
    job = known(state, final=final)
    verdict = said({"action": action}, job)
    assert verdict.event.event == event
    assert (verdict.spec and verdict.spec.state) == new_state
    assert (verdict.dead_letter is not None) == dead_letter
    if verdict.spec is not None:
        assert job.spec is not None
        assert verdict.spec.backfill == job.spec.backfill


def test_a_cancel_finishes_the_plan_as_it_is() -> None:
    verdict = said({"action": "cancel"}, known())
    assert verdict.plan == PlanOutcome(
        job_id="job", planned=5, duplicates=2, left_out={"moved": 1}, finished=True
    )
    assert verdict.checkpoint == CHECKPOINT.model_copy(update={"finished": True})


def test_the_same_document_again_is_ignored_and_another_one_is_a_dead_letter() -> None:
    again = said({"backfill": DOCUMENT}, known())
    assert (again.event.event, again.spec, again.dead_letter) == ("ignored", None, None)
    other = said({"backfill": DOCUMENT | {"name": "other"}}, known())
    assert (other.event.event, other.spec) == ("ignored", None)
    assert other.dead_letter is not None


def test_a_cancelled_job_is_not_started_again() -> None:
    again = said({"backfill": DOCUMENT}, known("cancelled"))
    assert (again.event.event, again.spec) == ("ignored", None)
    assert again.dead_letter is not None
    assert "cancelled" in (again.event.detail or "")


@pytest.mark.parametrize(
    ("state", "final", "event", "turns"),
    [
        ("active", False, "cancelled", True),
        ("paused", False, "cancelled", True),
        ("cancelled", False, "cancelled", False),
        ("cancelled", True, "ignored", False),
        ("active", True, "ignored", False),
    ],
)
def test_a_forced_cancel_ends_what_has_not_ended(
    state: JobState, final: bool, event: str, turns: bool
) -> None:
    verdict = said({"action": "cancel", "force": True}, known(state, final=final))
    assert (verdict.event.event, verdict.event.forced) == (event, event == "cancelled")
    assert ((verdict.spec is not None), (verdict.plan is not None)) == (turns, turns)
    assert not said({"action": "cancel"}, known()).event.forced


def replay(*letters: str) -> dict[str, Any]:
    return {"action": "replay", "letters": list(letters)}


@pytest.mark.parametrize("job", [known(), known("paused"), known(final=True)])
def test_a_replay_names_letters_of_a_job_that_was_not_cancelled(job: Known) -> None:
    verdict = said(replay("0:7", "2:1041"), job)
    assert verdict.letters == (LetterId(0, 7), LetterId(2, 1041))
    assert (verdict.event.event, verdict.event.command) == ("replayed", 12)
    assert (verdict.spec, verdict.checkpoint, verdict.plan, verdict.dead_letter) == (None, None, None, None)


@pytest.mark.parametrize(
    ("command", "job", "why"),
    [
        (replay("0:7"), known("cancelled"), "cancelled, which is final"),
        (replay("0:7"), REJECTED, "no job to replay"),
        (replay(), known(), "1 to 1000"),
        ({"action": "replay"}, known(), "1 to 1000"),
        (replay(*["0:7"] * 1001), known(), "not 1001"),
        (replay("0:7", "seven"), known(), "no dead letter's id"),
        (replay("-1:7"), known(), "no dead letter's id"),
        (replay("1:٣"), known(), "no dead letter's id"),
    ],
)
def test_a_replay_that_makes_no_sense_is_a_dead_letter(command: dict[str, Any], job: Known, why: str) -> None:
    verdict = said(command, job)
    assert (verdict.event.event, verdict.letters) == ("ignored", ())
    assert why in (verdict.event.detail or "")
    assert verdict.dead_letter is not None
    assert verdict.dead_letter.why_not_replayable() is not None, "a command is no account"


def test_letters_of_a_job_that_never_was_make_an_error() -> None:
    assert said(replay("0:7")).event.event == "rejected"


BROKEN = [
    pytest.param(None, "the message is empty", id="tombstone"),
    pytest.param(b"", "not a command", id="empty"),
    pytest.param(b"\xff\xfe", "not a command", id="no-text"),
    pytest.param(b"{", "not a command", id="no-json"),
    pytest.param(b"[]", "not a command", id="list"),
    pytest.param(b"[" * 5000, "not a command", id="deep"),
    pytest.param(b'{"action":"\\ud800"}', "not a command", id="surrogate"),
    pytest.param({"action": "explode"}, "action", id="unknown-action"),
    pytest.param({"backfil": {}}, "backfil", id="unknown-key"),
    pytest.param({}, "without `backfill`", id="no-document"),
    pytest.param({"backfill": {}}, "backfill.source: is missing", id="empty-document"),
    pytest.param({"backfill": DOCUMENT | {"uris": ["x"]}}, "not at://", id="bad-uri"),
    pytest.param(
        {"backfill": DOCUMENT | {"source": {"type": "file", "path": "a\0b"}}}, "path", id="nul-in-path"
    ),
    pytest.param(
        {"backfill": DOCUMENT | {"source": {"type": "file", "path": "~nobody-of-that-name/x"}}},
        "path",
        id="nobody's-home",
    ),
    pytest.param(
        {"backfill": DOCUMENT | {"source": {"type": "file", "path": "x" * 100_000}}}, "", id="endless-path"
    ),
    pytest.param(
        {"backfill": DOCUMENT | {"source": {"type": "inline", "dids": ["x" * 4_190_000]}}},
        "too large",
        id="too-large",
    ),
]


@pytest.mark.parametrize(("value", "why"), BROKEN)
def test_a_broken_first_message_makes_a_job_in_error(value: dict[str, Any] | bytes | None, why: str) -> None:
    verdict = said(value)
    if verdict.event.event == "submitted":
        assert why == ""  # a path that only its opening can judge
        return
    assert verdict.event.event == "rejected"
    assert why in (verdict.event.detail or "")
    assert verdict.spec is None
    assert verdict.checkpoint == PlanCheckpoint(job_id="job", finished=True)
    assert verdict.dead_letter is not None
    assert (verdict.dead_letter.stage, verdict.dead_letter.error_type) == ("plan", "validation_failed")


@pytest.mark.parametrize(("value", "why"), BROKEN)
@pytest.mark.parametrize("job", [known(), known("paused"), known("cancelled"), known(final=True), REJECTED])
def test_a_broken_message_never_changes_a_job(
    value: dict[str, Any] | bytes | None, why: str, job: Known
) -> None:
    verdict = said(value, job)
    assert verdict.event.event == "ignored"
    assert (verdict.spec, verdict.checkpoint, verdict.plan) == (None, None, None)
    assert verdict.dead_letter is not None


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_there_is_nothing_to_turn_where_no_job_is(action: str) -> None:
    assert said({"action": action}).event.event == "rejected"
    verdict = said({"action": action}, REJECTED)
    assert (verdict.event.event, verdict.spec) == ("ignored", None)


def test_an_id_that_was_refused_stays_refused() -> None:
    verdict = said({"backfill": DOCUMENT}, REJECTED)
    assert (verdict.event.event, verdict.spec) == ("ignored", None)
    assert verdict.dead_letter is not None


@pytest.mark.parametrize("key", ["", "../../etc", "a b", "-x", "x" * 201, "ä", "a\n", "\x1b[2J"])
def test_a_key_that_can_not_be_an_id_gives_way_to_the_offset(key: str) -> None:
    assert job_id_of(key, 12) == "job-12"
    verdict = said({"backfill": DOCUMENT}, key=key)
    assert verdict.job_id == verdict.event.job_id == "job-12"
    if key:
        assert verdict.event.event == "rejected"
        assert verdict.event.detail is not None
        assert verdict.event.detail.isprintable()
    else:
        assert verdict.event.event == "submitted"


def test_usual_ids_are_ids() -> None:
    assert all(map(is_job_id, ["a", "my-job", "2025.01_x", "x" * 200]))


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)), st.text(max_size=20))
def test_any_bytes_are_judged_and_the_verdict_fits_into_messages(value: bytes, key: str) -> None:
    for job in (None, known(), REJECTED):
        verdict = judge(key, 1, value, job, now=NOW, folder=FOLDER)
        assert is_job_id(verdict.job_id)
        parts = (verdict.event, verdict.spec, verdict.checkpoint, verdict.plan, verdict.dead_letter)
        assert all(len(part.encode()) < MESSAGE_BYTES for part in parts if part is not None)


def test_the_largest_message_still_makes_a_dead_letter_that_fits() -> None:
    verdict = said(b"\x00" * MESSAGE_BYTES)
    assert verdict.dead_letter is not None
    assert len(verdict.dead_letter.encode()) < MESSAGE_BYTES // 2
