"""Dead letters as they are shown: in a line, in a page, or as JSON."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from atp import dagcbor
from cli.console import table
from cli.words import one_line, printable
from schemas.deadletter import DeadLetter, LetterId
from schemas.errors import RecordInvalid
from schemas.outcomes import RepoOutcome
from schemas.replays import Replay
from schemas.words import counted

_MOST_REASONS = 8
_BYTES_SHOWN = 512


def listing(shown: Iterable[tuple[LetterId, DeadLetter]], replays: Mapping[str, Replay]) -> Table:
    """One line a letter."""
    rows = table("letter", "written (UTC)", "stage", "reason", "account", "host", "job", "replayed")
    for letter_id, letter in shown:
        account = letter.did or ("all that are given up" if letter.is_lot else "")
        rows.add_row(
            str(letter_id),
            letter.at.strftime("%Y-%m-%d %H:%M:%S"),
            letter.stage,
            one_line(letter.reason, 40),
            one_line(account, 60),
            one_line(letter.host or "", 60),
            one_line(letter.job_id or "", 60),
            "yes" if str(letter_id) in replays else "",
        )
    return rows


def totals(found: int, shown: int, replayed: int, reasons: Counter[str]) -> str:
    """The last line of a listing."""
    if not found:
        return "no dead letters"
    text = counted(found, "dead letter", "dead letters")
    if replayed:
        text += f", {replayed:,} replayed"
    named = [f"{number:,} {one_line(reason, 40)}" for reason, number in reasons.most_common(_MOST_REASONS)]
    text += f": {', '.join(named)}" + (", …" if len(reasons) > _MOST_REASONS else "")
    return text if shown == found else f"{text}; the newest {shown:,} are shown (--limit)"


def as_json(letter_id: LetterId, letter: DeadLetter, replay: Replay | None, *, whole: bool) -> str:
    """One line; payload and block only where `whole`."""
    left_out = set() if whole else {"payload", "block"}
    said: dict[str, Any] = {"id": str(letter_id), **letter.model_dump(mode="json", exclude=left_out)}
    return json.dumps(said | {"replay": replay and replay.model_dump(mode="json")})


def print_letter(console: Console, letter_id: LetterId, letter: DeadLetter) -> None:
    """Everything that a letter says."""
    rows = table("", "")
    said = letter.model_dump(mode="json", exclude={"payload", "block"}, exclude_none=True)
    for name, value in [("letter", str(letter_id)), *said.items()]:
        rows.add_row(name.replace("_", " "), printable(str(value)))
    rows.show_header = False
    console.print(rows)
    if letter.payload is not None:
        console.print("\npayload")
        console.print(printable(_pretty(letter.payload)))
    if letter.block is not None:
        console.print(printable(_block(letter.block)))
    why = letter.why_not_replayable()
    console.print(
        f"\nnot replayable: {why}" if why else f"\nreplay it: skyfill deadletter replay {letter_id}"
    )


def print_replay(console: Console, replay: Replay, ends: Iterator[RepoOutcome]) -> None:
    """What became of a letter's replay; `ends` are the outcomes that came of it."""
    counts: Counter[str] = Counter()
    last: RepoOutcome | None = None
    for last in ends:
        counts[last.status] += 1
    when = replay.asked_at.strftime("%Y-%m-%d %H:%M:%S")
    console.print(f"replayed at {when} UTC, {counted(replay.accounts, 'account', 'accounts')}")
    if replay.pending:
        console.print("not all of it is looked up yet")
    if (going := replay.accounts - counts.total()) > 0:
        console.print(f"{going:,} not ended again yet")
    for status, number in counts.most_common():
        console.print(f"{number:,} {status}")
    if last is not None and counts.total() == 1 and last.reason:
        console.print(printable(f"{last.reason}: {last.detail or ''}"))


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _block(encoded: str) -> str:
    raw = base64.b64decode(encoded)
    head = f"\nraw block, {len(raw):,} bytes"
    rest = f" … ({len(raw) - _BYTES_SHOWN:,} more)" if len(raw) > _BYTES_SHOWN else ""
    if raw.startswith(b"{"):  # no CBOR map of a record begins so: what was too large is kept as JSON
        return f"{head} of JSON\n{raw[:_BYTES_SHOWN].decode('utf-8', 'replace')}{rest}"
    try:
        text, _ = dagcbor.to_json(raw)
    except RecordInvalid as error:
        return f"{head}; {error}\n{raw[:_BYTES_SHOWN].hex(' ')}{rest}"
    return f"{head}\n{_pretty(text.decode())}"
