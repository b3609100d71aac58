"""Judges commands, as plain functions: what a message of `jobs` means for a job as it stands.

Nothing that arrives can do harm: what can't be followed is kept as a dead letter, and never changes a job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from messaging.clients import MESSAGE_BYTES
from messaging.names import Names
from producers.chunk import LONGEST_DETAIL, Publication, shortened
from producers.schedules import SUFFIX_LENGTH, outlook
from schemas.backfill import Backfill
from schemas.deadletter import DeadLetter, LetterId
from schemas.document import parse_document
from schemas.errors import ConfigError
from schemas.job_specs import JobSpec, JobState
from schemas.jobs import LONGEST_JOB_ID, MOST_LETTERS, JobMessage
from schemas.jobs import is_job_id as is_job_id
from schemas.message import Message
from schemas.outcomes import JobEvent, PlanOutcome
from schemas.plans import PlanCheckpoint
from schemas.secrets import masked_json

_LONGEST_SPEC = MESSAGE_BYTES - 64 * 1024
_LONGEST_PAYLOAD = 256 * 1024
"""Characters; JSON may write each with six bytes, and the dead letter has to fit into a message."""


@dataclass(frozen=True)
class Known:
    """A job id that was seen before. `spec` is None where its first message was refused."""

    spec: JobSpec | None
    checkpoint: PlanCheckpoint
    final: bool = False
    """Whether the tracker has ended the job."""
    going: str | None = None
    """Of a schedule: its run that has not ended."""


@dataclass(frozen=True)
class Verdict:
    """What follows from one command. Absent parts stay as they are."""

    job_id: str
    event: JobEvent
    spec: JobSpec | None = None
    checkpoint: PlanCheckpoint | None = None
    plan: PlanOutcome | None = None
    dead_letter: DeadLetter | None = None
    letters: Sequence[LetterId] = ()
    """Dead letters to be replayed, each if it may be: producers.replays makes the rest of the verdict."""
    outlook: JobEvent | None = None
    """Of a schedule: what is to be said of its runs from now on, ahead of the event that may end it."""

    def publications(self, names: Names) -> list[Publication]:
        """Every message, the events first."""
        parts: list[tuple[str, Message | None]] = [
            (names.outcomes, self.outlook),
            (names.outcomes, self.event),
            (names.job_specs, self.spec),
            (names.plans, self.checkpoint),
            (names.outcomes, self.plan),
            (names.deadletter, self.dead_letter),
        ]
        return [(topic, self.job_id, message) for topic, message in parts if message is not None]


def job_id_of(key: str, offset: int) -> str:
    """The job that a message is about: its key, or `job-{offset}` where that is absent or unusable."""
    return key if is_job_id(key) else f"job-{offset}"


def judge(
    key: str, offset: int, value: bytes | None, known: Known | None, *, now: datetime, folder: Path
) -> Verdict:
    """What a command means. `known` is of the job `job_id_of(key, offset)`; None: never seen.

    Relative paths of a document are taken from `folder`.
    """
    job = _Job(job_id_of(key, offset), offset, known, value or b"", now)
    if key and not is_job_id(key):
        return job.refused(
            f"the key {shortened(key)[:100]!r} can't name a job: letters, digits, `.`, `_` and `-`, the "
            f"first a letter or digit, {LONGEST_JOB_ID} at the most"
        )
    if value is None:
        return job.refused("the message is empty; send {'action': …} as JSON")
    try:
        message = JobMessage.decode(value)
    except ValidationError as error:
        return job.refused(f"not a command: {_first_errors(error)}")
    if message.action == "replay":
        return job.replayed(message.letters or [])
    if message.action == "cancel":
        return job.cancelled(force=message.force)
    if message.action != "start":
        return job.turned(message.action)
    if message.backfill is None:
        return job.refused("a start without `backfill`, the document")
    try:
        backfill = parse_document(message.backfill).absolute(folder)
    except ConfigError as error:
        return job.refused(str(error))
    except (OSError, ValueError, RuntimeError) as error:
        return job.refused(f"a path of the document can't be used: {error}")
    return job.started(backfill)


@dataclass(frozen=True)
class _Job:
    job_id: str
    offset: int
    known: Known | None
    value: bytes
    now: datetime

    def started(self, backfill: Backfill) -> Verdict:
        if self.known is not None:
            if self.known.spec is not None and self.known.spec.state == "cancelled":
                return self.refused("the job was cancelled, which is final; start it under another id")
            if self.known.spec is not None and self.known.spec.backfill == backfill:
                return self._ignored("this job was started before, with the same document")
            return self.refused("this job id is taken by another document; choose another one")
        spec = JobSpec(job_id=self.job_id, backfill=backfill, submitted_at=self.now)
        if len(spec.encode()) > _LONGEST_SPEC:
            return self.refused("the document is too large for a message; put its accounts into a file")
        if backfill.schedule is not None and len(self.job_id) > LONGEST_JOB_ID - SUFFIX_LENGTH:
            return self.refused(
                f"the ids of a schedule's runs are {SUFFIX_LENGTH} characters longer than its own, which may "
                f"have {LONGEST_JOB_ID - SUFFIX_LENGTH} at the most"
            )
        return Verdict(self.job_id, self._event("submitted", name=backfill.name), spec=spec)

    def turned(self, action: str) -> Verdict:
        """Pause or resume."""
        if self.known is None or self.known.spec is None:
            return self.refused(f"there is no job to {action}")
        spec = self.known.spec
        wanted: JobState = {"pause": "paused", "resume": "active"}[action]  # type: ignore[assignment]
        if spec.state == wanted:
            return self._ignored(f"the job is {wanted} already")
        if spec.state == "cancelled":
            return self.refused(f"the job was cancelled, which is final; can't {action} it")
        if self.known.final:
            return self.refused(f"the job has ended; can't {action} it")
        turned = spec.model_copy(update={"state": wanted})
        event = self._event("resumed" if wanted == "active" else "paused")
        return Verdict(self.job_id, event, turned, outlook=self._outlook(turned, self.known))

    def cancelled(self, *, force: bool) -> Verdict:
        """The plan is finished as it is. With `force` the job has ended, whatever is still under way.

        That may also be said of a job that was cancelled before and has not come to its end.
        """
        if self.known is None or self.known.spec is None:
            return self.refused("there is no job to cancel")
        spec = self.known.spec
        again = spec.state == "cancelled"
        if again and (self.known.final or not force):
            return self._ignored("the job is cancelled already")
        if self.known.final:
            return self.refused("the job has ended; can't cancel it")
        turned = spec.model_copy(update={"state": "cancelled"})
        event = self._event("cancelled").model_copy(update={"forced": force})
        if again:
            return Verdict(self.job_id, event)
        finished = self.known.checkpoint.model_copy(update={"finished": True})
        plan = PlanOutcome(
            job_id=self.job_id,
            planned=finished.planned,
            duplicates=finished.duplicates,
            left_out=finished.left_out,
            finished=True,
        )
        said = self._outlook(turned, self.known)
        return Verdict(self.job_id, event, turned, finished, plan, outlook=said)

    def replayed(self, letters: Sequence[str]) -> Verdict:
        """Letters of a job that was started and not cancelled. Each of them is judged where it is read."""
        if self.known is None or self.known.spec is None:
            return self.refused("there is no job to replay dead letters of")
        if self.known.spec.state == "cancelled":
            return self.refused("the job was cancelled, which is final; start another one for its accounts")
        if self.known.spec.backfill.schedule is not None:
            return self.refused("a schedule fetches nothing itself; replay the dead letters of its runs")
        if not 0 < len(letters) <= MOST_LETTERS:
            return self.refused(f"a replay names 1 to {MOST_LETTERS} `letters`, not {len(letters)}")
        try:
            ids = tuple(map(LetterId.parse, letters))
        except ValueError as error:
            return self.refused(str(error))
        return Verdict(self.job_id, self._event("replayed"), letters=ids)

    def refused(self, why: str) -> Verdict:
        """A dead letter; a job of its own, in error, only where the id was never seen."""
        letter = DeadLetter(
            stage="plan",
            error_type="validation_failed",
            reason="CommandRefused",
            detail=shortened(why),
            job_id=self.job_id,
            payload=masked_json(self.value.decode("utf-8", "replace"))[:_LONGEST_PAYLOAD],
            at=self.now,
        )
        if self.known is not None:
            return Verdict(self.job_id, self._event("ignored", why), dead_letter=letter)
        # The id counts as seen from now on: what has ended in error is not started after all.
        seen = PlanCheckpoint(job_id=self.job_id, finished=True)
        return Verdict(self.job_id, self._event("rejected", why), checkpoint=seen, dead_letter=letter)

    def _ignored(self, why: str) -> Verdict:
        return Verdict(self.job_id, self._event("ignored", why))

    def _outlook(self, spec: JobSpec, known: Known) -> JobEvent | None:
        said = outlook(spec, known, self.now)
        return None if said is None else self._event("scheduled", said)

    def _event(self, event: str, detail: str | None = None, name: str | None = None) -> JobEvent:
        return JobEvent.model_validate(
            {
                "job_id": self.job_id,
                "event": event,
                "name": name,
                "detail": detail and shortened(detail),
                "command": self.offset,
                "at": self.now,
            }
        )


def _first_errors(error: ValidationError) -> str:
    texts = [
        f"{'.'.join(map(str, details['loc'])) or 'message'}: {details['msg']}" for details in error.errors()
    ]
    return "; ".join(texts)[:LONGEST_DETAIL]
