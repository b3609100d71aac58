"""Answers commands to replay dead letters: which of them are replayed, and what has to be published for it.

All that follows from a command is one transaction with its offset: tasks, the traces that keep a letter from
being replayed again, and the event that tells the tracker how many accounts to expect once more. Letters
whose accounts have to be looked up first get their traces here, and their tasks from producers.lookups.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import ValidationError

from messaging import clients
from messaging.letters import Found, LetterReader
from messaging.names import Names
from messaging.partitioner import partition_for
from messaging.topics import end_offsets, offsets_since
from producers.chunk import Publication, interleave
from producers.commands import Verdict
from producers.traces import Traces
from schemas.deadletter import DeadLetter
from schemas.dids import DidTask
from schemas.job_specs import JobSpec
from schemas.outcomes import JobEvent, Replaced
from schemas.replays import Lot, Replay
from schemas.settings import KafkaSettings

ALREADY = "already replayed"


@dataclass
class Answer:
    """What follows from the letters of one command."""

    verdict: Verdict
    tasks: list[DidTask] = field(default_factory=list)
    traces: list[Replay] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)
    """Letters by the reason why they are not replayed."""
    resumed: JobEvent | None = None

    @property
    def accounts(self) -> int:
        """Accounts that will have one more terminal outcome."""
        return len(self.tasks) + sum(trace.entry is not None for trace in self.traces)

    def publications(self, names: Names) -> list[Publication]:
        """Every message beside the verdict's own."""
        found: list[Publication] = [(names.dids, task.pds, task) for task in interleave(self.tasks)]
        found += [(names.replays, trace.letter, trace) for trace in self.traces]
        if self.resumed is not None:
            found.append((names.outcomes, self.resumed.job_id, self.resumed))
        return found


class Replays:
    """Life: made, `answer` each command that replays letters, `close`."""

    def __init__(self, kafka: KafkaSettings, traces: Traces) -> None:
        """`traces` is up to date whenever `answer` is called."""
        self._kafka, self._names, self._traces = kafka, Names(kafka.topic_prefix), traces
        self._admin = clients.admin(kafka)
        self._letters = LetterReader(kafka)

    def answer(self, verdict: Verdict, spec: JobSpec, command: int, now: datetime, *, ended: bool) -> Answer:
        """Reads and judges the letters of a verdict. `command` is the command's offset; `ended`: as far as is
        known, the job has come to its end. Raises DeploymentError if the broker does not answer.
        """
        answer = Answer(verdict)
        for found in self._letters.named(verdict.letters):
            why = self._refusal(found, verdict.job_id) or self._accept(answer, found, spec, command, now)
            if why:
                answer.refused.setdefault(why, []).append(str(found.id))
        accepted = len(answer.traces)
        told: dict[str, object] = {"command": command, "refused": answer.refused or None}
        if not accepted:
            detail = "; ".join(f"{len(ids)} not replayed: {why}" for why, ids in answer.refused.items())
            event = verdict.event.model_copy(update=told | {"event": "ignored", "detail": detail[:2000]})
            answer.verdict = replace(verdict, event=event)
            return answer
        lots = sum(trace.lot is not None and trace.pending for trace in answer.traces)
        told |= {
            "count": answer.accounts,
            "gathering": self._traces.gathering(verdict.job_id) + lots,
            "letters": accepted,
        }
        answer.verdict = replace(verdict, event=verdict.event.model_copy(update=told))
        if ended and spec.state == "paused":  # it ended nevertheless; its replays shall not wait for a word
            answer.resumed = JobEvent(job_id=spec.job_id, event="resumed", command=command, at=now)
            answer.verdict = replace(answer.verdict, spec=spec.model_copy(update={"state": "active"}))
        return answer

    def close(self) -> None:
        """Leaves the topic."""
        self._letters.close()

    def _refusal(self, found: Found, job_id: str) -> str | None:
        letter = found.letter
        if letter is None:
            return found.why
        if letter.job_id != job_id:
            return "it belongs to another job" if letter.job_id else "it belongs to no job"
        if why := letter.why_not_replayable():
            return why
        if self._traces.replayed(str(found.id)) and (
            not letter.is_lot or self._traces.is_pending(str(found.id))
        ):
            return ALREADY
        return None

    def _accept(self, answer: Answer, found: Found, spec: JobSpec, command: int, now: datetime) -> str | None:
        """Adds what a letter's replay is to the answer; a reason where it can't be."""
        letter, name = found.letter, str(found.id)
        assert letter is not None
        trace = Replay(letter=name, job_id=spec.job_id, did=letter.did, asked_at=now, command=command)
        if letter.is_lot:
            if any(other.lot and other.lot.host == letter.host for other in answer.traces):
                return "another letter of this command has the same host's accounts replayed"
            answer.traces.append(trace.model_copy(update={"lot": self._lot(letter, spec)}))
            return None
        replaced = Replaced(
            letter=name,
            did=letter.did or "",
            host=letter.host,
            error_type=letter.error_type,
            reason=letter.reason,
        )
        if letter.stage == "plan":
            update = {"number": letter.replay + 1, "entry": replaced}
            answer.traces.append(trace.model_copy(update=update))
            return None
        task = _task_of(letter)
        if task is None:
            return "its task can't be read by this version"
        number = task.replay + 1
        answer.tasks.append(again(task, replaced, number))
        answer.traces.append(trace.model_copy(update={"number": number, "accounts": 1}))
        return None

    def _lot(self, letter: DeadLetter, spec: JobSpec) -> Lot:
        """What has failed there so far: to the end of all that is written, decided or not."""
        topic, partition = self._names.outcomes, partition_for(spec.job_id, self._kafka.partitions.outcomes)
        until = end_offsets(self._admin, topic, [partition], committed=False)[partition]
        begin = offsets_since(self._admin, topic, [partition], spec.submitted_at)[partition]
        host = letter.host or ""
        begin = max(begin, self._traces.dealt_with(spec.job_id, host, letter.reason))
        return Lot(host=host, reason=letter.reason, cursor=min(begin, until), until=until)


def again(task: DidTask, replaced: Replaced, number: int) -> DidTask:
    """A task's next life: the first attempt of replay `number`, at once."""
    fresh = {"attempt": 1, "moves": 0, "first_tried_at": None, "not_before": None}
    return task.model_copy(update=fresh | {"replay": number, "replaces": replaced})


def _task_of(letter: DeadLetter) -> DidTask | None:
    try:
        task = DidTask.decode((letter.payload or "").encode())
    except ValidationError:
        return None
    return task if (task.job_id, task.did) == (letter.job_id, letter.did) else None
