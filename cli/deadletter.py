"""`skyfill deadletter list|show|replay` and `skyfill retry`: what was given up, and trying it once more."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from cli.backend import Api, Token, unknown
from cli.console import err, out
from cli.letters import as_json, listing, print_letter, print_replay, totals
from cli.logs import log_nothing
from cli.moments import moment
from cli.replay import carry_out
from cli.settings import Data, connected_settings
from messaging.control import StatusBoard, replays_of
from messaging.letters import LetterReader
from messaging.names import Names
from messaging.outcomes import terminal_outcomes
from messaging.partitioner import partition_for
from messaging.replaying import Chosen, SortedOut, sorted_out
from messaging.scan import scan
from schemas.deadletter import DeadLetter, LetterId
from schemas.errors import ConfigError
from schemas.outcomes import RepoOutcome
from schemas.replays import Replay
from schemas.settings import KafkaSettings
from schemas.words import counted

app = typer.Typer(no_args_is_help=True, help="Dead letters: what was given up, and trying it once more.")
Stage = Literal["plan", "fetch", "record", "track", "sink"]
_Job = Annotated[str | None, typer.Option("--job", help="Only of this job.")]
_Host = Annotated[str | None, typer.Option("--host", help="Only of this PDS: its name or origin.")]
_Reason = Annotated[str | None, typer.Option("--reason", help="Only with this reason, e.g. HostTimeout.")]
_ErrorType = Annotated[str | None, typer.Option("--error-type", help="Only of this error type.")]
_Stage = Annotated[Stage | None, typer.Option("--stage", help="Only from this stage.")]
_Did = Annotated[str | None, typer.Option("--did", help="Only of this account.")]
_Since = Annotated[
    str | None, typer.Option("--since", help="Only those written since then: 6h, 2d, 2026-01-31, an instant.")
]
_Until = Annotated[str | None, typer.Option("--until", help="Only those written before then.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be replayed, and do nothing.")]
_Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for the planner's answer; exit code 2 if it refuses some.")
]


@app.command("list")
def list_letters(
    job: _Job = None,
    host: _Host = None,
    reason: _Reason = None,
    error_type: _ErrorType = None,
    stage: _Stage = None,
    did: _Did = None,
    since: _Since = None,
    until: _Until = None,
    replayed: Annotated[
        bool | None, typer.Option("--replayed/--not-replayed", help="Only those that were, or were not.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Show at most the newest so many.")] = 100,
    as_lines: Annotated[bool, typer.Option("--json", help="Print JSON, one line a letter.")] = False,
    data: Data = None,
) -> None:
    """List dead letters, the newest last. The topic keeps them for 30 days."""
    log_nothing()
    chosen = _chosen(job, host, reason, error_type, stage, did, since, until, replayed)
    kafka = connected_settings(data).kafka
    replays = replays_of(kafka)
    newest: deque[tuple[datetime, LetterId, DeadLetter]] = deque()
    found, tried_again, reasons = 0, 0, Counter[str]()
    for letter_id, letter in _letters(kafka, chosen, replays):
        found += 1
        tried_again += str(letter_id) in replays
        reasons[letter.reason] += 1
        newest.append((letter.at, letter_id, _light(letter)))
        if len(newest) >= 2 * limit:
            newest = deque(sorted(newest)[-limit:])
    shown = [(letter_id, letter) for _, letter_id, letter in sorted(newest)[-limit:]]
    if as_lines:
        for letter_id, letter in shown:
            out.print(as_json(letter_id, letter, replays.get(str(letter_id)), whole=False))
        return
    if shown:
        out.print(listing(shown, replays))
    out.print(totals(found, len(shown), tried_again, reasons))


@app.command("show")
def show(
    letter: Annotated[str, typer.Argument(help="The letter as `list` names it, e.g. 2:1041.")],
    as_line: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    data: Data = None,
) -> None:
    """Show all that a dead letter says, and what became of its replay."""
    log_nothing()
    ids = _ids([letter])
    kafka = connected_settings(data).kafka
    [(letter_id, found)] = _named(kafka, ids)
    replay = replays_of(kafka).get(str(letter_id))
    if as_line:
        out.print(as_json(letter_id, found, replay, whole=True))
        return
    print_letter(out, letter_id, found)
    if replay is not None:
        print_replay(out, replay, _ends(kafka, replay))


@app.command("replay")
def replay(
    letters: Annotated[
        list[str] | None, typer.Argument(help="Letters as `list` names them; or choose by options.")
    ] = None,
    job: _Job = None,
    host: _Host = None,
    reason: _Reason = None,
    error_type: _ErrorType = None,
    stage: _Stage = None,
    did: _Did = None,
    since: _Since = None,
    until: _Until = None,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    wait: _Wait = False,
    data: Data = None,
) -> None:
    """Try again what was given up: its account is fetched once more, and its job goes on until then.

    A letter is replayed once, however often that is asked for. What fails again has a new letter. Letters
    about a single record, or of a sink, can't be replayed: fetching again would change nothing.
    """
    log_nothing()
    ids, chosen = _ids(letters or []), _chosen(job, host, reason, error_type, stage, did, since, until, None)
    if letters and not chosen.all:
        raise ConfigError("name letters or choose them by options, not both")
    if not letters and chosen.all:
        raise ConfigError("name letters (`skyfill deadletter list` shows them), or choose them by options")
    kafka = connected_settings(data).kafka
    replays = replays_of(kafka)
    found = iter(_named(kafka, ids)) if ids else _letters(kafka, chosen, replays)
    sorted_letters = _sorted_out(kafka, found, replays, named=bool(letters))
    carry_out(kafka, sorted_letters, dry_run, yes or bool(letters), wait)


def retry(
    job_id: Annotated[str, typer.Argument(help="The job's id.")],
    dry_run: _DryRun = False,
    wait: _Wait = False,
    api: Api = None,
    token: Token = None,
    data: Data = None,
) -> None:
    """Try again all accounts of a job that failed: replays its dead letters that were not replayed yet."""
    log_nothing()
    if api is not None:
        if dry_run or wait:
            raise ConfigError("--dry-run and --wait ask Kafka itself; leave one of them or --api out")
        _retry_by_api(api, token, job_id)
        return
    kafka = connected_settings(data).kafka
    if StatusBoard(kafka).of(job_id) is None:
        raise unknown(job_id)
    replays = replays_of(kafka)
    found = _letters(kafka, Chosen(job=job_id, replayed=False), replays)
    carry_out(kafka, _sorted_out(kafka, found, replays, named=False), dry_run, True, wait)


def _retry_by_api(api: str, token: str | None, job_id: str) -> None:
    from cli.api_jobs import ApiJobs

    with closing(ApiJobs(api, token)) as jobs:
        letters, left_out = jobs.retry(job_id)
    for why, number in sorted(left_out.items()):
        err.print(f"{counted(number, 'letter is', 'letters are')} left out: {why}")
    out.print(f"asked to replay {counted(letters, 'dead letter', 'dead letters')} of {job_id}")


def _sorted_out(
    kafka: KafkaSettings,
    found: Iterable[tuple[LetterId, DeadLetter]],
    replays: dict[str, Replay],
    *,
    named: bool,
) -> SortedOut:
    cancelled = {job.job_id for job in StatusBoard(kafka).all() if job.status == "cancelled"}
    return sorted_out(found, replays, cancelled, named=named)


def _light(letter: DeadLetter) -> DeadLetter:
    """Without what may be large."""
    return letter.model_copy(update={"block": None, "payload": None})


def _letters(
    kafka: KafkaSettings, chosen: Chosen, replays: dict[str, Replay]
) -> Iterator[tuple[LetterId, DeadLetter]]:
    reader = LetterReader(kafka)
    try:
        for letter_id, letter in reader.since(chosen.since):
            if chosen.holds(letter_id, letter, replays):
                yield letter_id, letter
    finally:
        reader.close()


def _ids(names: Iterable[str]) -> list[LetterId]:
    try:
        return [LetterId.parse(name) for name in names]
    except ValueError as error:
        raise ConfigError(f"{error}; `skyfill deadletter list` shows them") from error


def _named(kafka: KafkaSettings, ids: Iterable[LetterId]) -> list[tuple[LetterId, DeadLetter]]:
    """ConfigError for one that is not there."""
    reader = LetterReader(kafka)
    try:
        found = [(each, each.letter) for each in reader.named(ids)]
    finally:
        reader.close()
    for each, letter in found:
        if letter is None:
            raise ConfigError(
                f"dead letter {each.id}: {each.why}; `skyfill deadletter list` shows those there are"
            )
    return [(each.id, letter) for each, letter in found if letter is not None]


def _ends(kafka: KafkaSettings, replay: Replay) -> Iterator[RepoOutcome]:
    topic = Names(kafka.topic_prefix).outcomes
    partition = partition_for(replay.job_id, kafka.partitions.outcomes)
    for outcome in terminal_outcomes(replay.job_id, scan(kafka, topic, partition, replay.asked_at)):
        if outcome.replaces is not None and outcome.replaces.letter == replay.letter:
            yield outcome


def _chosen(
    job: str | None,
    host: str | None,
    reason: str | None,
    error_type: str | None,
    stage: str | None,
    did: str | None,
    since: str | None,
    until: str | None,
    replayed: bool | None,
) -> Chosen:
    now = datetime.now(UTC)
    begin, end = since and moment(since, now), until and moment(until, now)
    return Chosen(job, host, reason, error_type, stage, did, begin or None, end or None, replayed)
