"""A replay from the command line: which letters may be replayed, asking for it, and the planner's answer."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import typer

from cli.console import err, out
from cli.words import counted
from messaging.answers import Answers
from messaging.control import StatusBoard, send_commands
from schemas.deadletter import DeadLetter, LetterId
from schemas.errors import ConfigError, DeploymentError
from schemas.jobs import MOST_LETTERS, JobMessage
from schemas.replays import Replay
from schemas.settings import KafkaSettings

_LETTER_BYTES = 60 * 1024
"""Of the ids in one command."""
_HINT_SECONDS = 30.0
_ANSWER_SECONDS = 600.0


@dataclass
class SortedOut:
    """Letters that may be replayed, by job, and how many may not, by the reason."""

    jobs: dict[str, list[LetterId]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """All that may be replayed."""
        return sum(map(len, self.jobs.values()))


def sorted_out(
    kafka: KafkaSettings,
    letters: Iterable[tuple[LetterId, DeadLetter]],
    replays: dict[str, Replay],
    *,
    named: bool,
) -> SortedOut:
    """The planner judges each letter again; this spares it what can be known here."""
    found = SortedOut()
    cancelled = {job.job_id for job in StatusBoard(kafka).all() if job.status == "cancelled"}
    for letter_id, letter in letters:
        why = letter.why_not_replayable()
        known = replays.get(str(letter_id))
        if why is None and letter.job_id in cancelled:
            why = "its job was cancelled, which is final"
        # A host's letter stands for whatever ended there since: it may be replayed again by its name.
        if why is None and known is not None and (not letter.is_lot or known.pending or not named):
            why = "already replayed"
        if why is None:
            found.jobs.setdefault(letter.job_id or "", []).append(letter_id)
            found.reasons[letter.reason] += 1
        else:
            found.skipped[why] += 1
    return found


def carry_out(kafka: KafkaSettings, found: SortedOut, dry_run: bool, yes: bool, wait: bool) -> None:
    """Shows or sends what was sorted out; asks first unless `yes`. ConfigError if nothing may be replayed."""
    for why, number in found.skipped.most_common():
        err.print(f"{counted(number, 'letter is', 'letters are')} left out: {why}")
    if not found.count:
        raise ConfigError("there is no dead letter among these that can be replayed")
    letters = counted(found.count, "dead letter", "dead letters")
    jobs = counted(len(found.jobs), "job", "jobs")
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in found.reasons.most_common(8))
    if dry_run:
        out.print(f"would replay {letters} of {jobs}: {reasons}")
        for job_id, ids in sorted(found.jobs.items()):
            for letter_id in sorted(ids):
                out.print(f"{letter_id} {job_id}")
        return
    if not yes:
        err.print(f"{letters} of {jobs}: {reasons}")
        if not sys.stdin.isatty():
            raise ConfigError("nobody is there to be asked; say --yes, or --dry-run to see the letters")
        typer.confirm("Replay them?", abort=True, err=True)
    answers = Answers(kafka, found.jobs) if wait else None
    commands = list(_commands(found.jobs))
    offsets = send_commands(kafka, commands)
    out.print(f"asked to replay {letters} of {jobs}: {reasons}")
    if answers is None:
        if len(found.jobs) == 1:
            job_id = next(iter(found.jobs))
            out.print(f"as soon as the planner has read that, `skyfill status {job_id} --watch` follows it")
        return
    _tell_answers(answers, dict(zip(offsets, [job_id for job_id, _ in commands], strict=True)))


def _commands(jobs: dict[str, list[LetterId]]) -> Iterator[tuple[str, JobMessage]]:
    """As many as it takes, each small enough for one transaction."""
    for job_id, ids in sorted(jobs.items()):
        part: list[str] = []
        size = 0
        for name in map(str, sorted(ids)):
            if len(part) == MOST_LETTERS or size + len(name) + 3 > _LETTER_BYTES:
                yield job_id, JobMessage(action="replay", letters=part)
                part, size = [], 0
            part.append(name)
            size += len(name) + 3
        yield job_id, JobMessage(action="replay", letters=part)


def _tell_answers(answers: Answers, commands: dict[int, str]) -> None:
    """Waits, tells what was accepted and what was not, and exits with 2 in the latter case."""
    events = answers.wait(commands, _HINT_SECONDS)
    if len(events) < len(commands):
        err.print("no answer yet; commands wait until a planner runs (`skyfill up`, or `skyfill producer`)")
        events = answers.wait(commands, _ANSWER_SECONDS)
    answers.close()
    if len(events) < len(commands):
        raise DeploymentError(
            f"{len(commands) - len(events)} of {len(commands)} commands were not answered within "
            f"{(_HINT_SECONDS + _ANSWER_SECONDS) / 60:.0f} minutes; they are sent and will be followed"
        )
    accepted, refused = 0, 0
    for offset, event in sorted(events.items()):
        accepted += event.letters or 0
        if event.event != "replayed" and not event.refused:
            refused += 1
            err.print(f"refused for job {commands[offset]}: {event.detail}")
        for why, names in (event.refused or {}).items():
            refused += len(names)
            err.print(f"refused, {why}: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}")
    out.print(f"{counted(accepted, 'dead letter is', 'dead letters are')} being replayed")
    raise typer.Exit(2 if refused else 0)
