"""A replay from the command line: asking for it, and the planner's answer."""

from __future__ import annotations

import sys

import typer

from cli.console import err, out
from messaging.answers import Answers
from messaging.control import send_commands
from messaging.replaying import SortedOut, replay_commands
from schemas.errors import ConfigError, DeploymentError
from schemas.settings import KafkaSettings
from schemas.words import counted

_HINT_SECONDS = 30.0
_ANSWER_SECONDS = 600.0


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
    commands = list(replay_commands(found.jobs))
    offsets = send_commands(kafka, commands)
    out.print(f"asked to replay {letters} of {jobs}: {reasons}")
    if answers is None:
        if len(found.jobs) == 1:
            job_id = next(iter(found.jobs))
            out.print(f"as soon as the planner has read that, `skyfill status {job_id} --watch` follows it")
        return
    _tell_answers(answers, dict(zip(offsets, [job_id for job_id, _ in commands], strict=True)))


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
