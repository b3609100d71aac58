"""What a campaign tells: each strike with what it left open, then the promises and the price, as Markdown
and on the terminal.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.chaos.carried import Carried, Restart
from tests.chaos.judgement import Judgement
from tests.chaos.plan import VICTIMS, Plan
from tests.chaos.scene import Size

_STOPS = ("victim", "stops", "seconds from SIGCONT to the commit: what came of it")
_STRIKES = ("#", "second", "what", "victim", "point", "what was open", "works again after", "of the commit")


@dataclass(frozen=True)
class Report:
    """All that is to be told of a campaign that was carried out."""

    plan: Plan
    size: Size
    began: float
    """Epoch seconds."""
    seconds: float
    carried: list[Carried]
    restart: Restart
    judgement: Judgement

    @property
    def verdict(self) -> str:
        """One line."""
        judged = self.judgement
        word = "passed" if judged.passed else "FAILED"
        return (
            f"chaos {word}: seed {self.plan.seed}, {self.size.accounts:,} repositories, "
            f"{judged.records:,} records, {len(self.carried)} strikes in {self.seconds:.0f} s, "
            f"{judged.lost} lost, {judged.doubled} doubled"
        )

    def markdown(self) -> str:
        """The whole report."""
        parts = [
            f"# Chaos campaign, seed {self.plan.seed}",
            self.verdict,
            "## Strikes",
            _markdown_table(_STRIKES, self._strikes()),
            self._broker(),
            "## Kills by point",
            _markdown_table(("point", "kills", "victims"), self._points()),
            "## Stops by kind",
            _markdown_table(
                ("victim", "stops", "seconds from SIGCONT to the commit: what came of it"), self._stops()
            ),
            "## Verdict",
            _markdown_table(("promise", "kept", "found"), self._promises()),
            "## What it cost",
            _markdown_table(("", ""), self._costs()),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def show(self, console: Console) -> None:
        """The same on a terminal."""
        _show(console, "Strikes", _STRIKES, self._strikes())
        console.print(self._broker() + "\n")
        _show(console, "Kills by point", ("point", "kills", "victims"), self._points())
        _show(console, "Stops", _STOPS, self._stops())
        _show(console, "Verdict", ("promise", "kept", "found"), self._promises())
        _show(console, "What it cost", ("", ""), self._costs())
        for example in self.judgement.examples:
            console.print(example)
        console.print(self.verdict)

    def _strikes(self) -> list[list[str]]:
        return [
            [
                str(done.strike.number),
                f"{done.struck.at - self.began:.1f}",
                _what(done),
                done.struck.name,
                done.strike.point + (" (call under way)" if done.strike.in_flight else ""),
                done.what_was_open,
                "not seen" if done.back_after is None else f"{done.back_after:.1f} s",
                _shortly(done.decided),
            ]
            for done in sorted(self.carried, key=lambda done: done.struck.at)
        ]

    def _broker(self) -> str:
        restart = self.restart
        return (
            f"The broker was killed after strike {restart.after}, with {restart.outstanding} accounts and "
            f"{restart.behind:,} records under way, and was back after {restart.seconds:.1f} s. "
            f"Drawn anew, because a point was not reached in time: "
            f"{sum(len(done.draws) for done in self.carried)} strikes."
        )

    def _points(self) -> list[list[str]]:
        rows = []
        for point in VICTIMS:
            struck = Counter(d.struck.name for d in self.carried if d.strike.point == point)
            victims = ", ".join(f"{number} × {name}" for name, number in sorted(struck.items()))
            rows.append([point, str(struck.total()), victims])
        return rows

    def _stops(self) -> list[list[str]]:
        rows = []
        for kind in sorted({d.strike.kind for d in self.carried if d.strike.what == "stop"}):
            stops = sorted(
                (d for d in self.carried if d.strike.what == "stop" and d.strike.kind == kind),
                key=lambda d: d.strike.delay,
            )
            told = "; ".join(f"{d.strike.delay:g} s: {_shortly(d.decided)}" for d in stops)
            rows.append([kind, str(len(stops)), told])
        return rows

    def _promises(self) -> list[list[str]]:
        return [[c.promise, "yes" if c.kept else "NO", c.found] for c in self.judgement.checks]

    def _costs(self) -> list[list[str]]:
        cost = self.judgement.cost
        return [
            ["transactions aborted", f"{cost.transactions_aborted:,}"],
            ["messages in them, which no reader of committed ones sees", f"{cost.messages_unseen:,}"],
            ["tasks redone", f"{cost.tasks_redone:,}"],
            ["files discarded", f"{cost.files_discarded:,}"],
        ]


def _what(done: Carried) -> str:
    if done.strike.what == "kill":
        return "kill"
    return f"stop for {done.stood_still:.1f} s, commit {done.strike.delay:g} s after"


def _shortly(text: str) -> str:
    """Without the broker's words."""
    return text.partition(" (")[0]


def _markdown_table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _show(console: Console, title: str, head: tuple[str, ...], rows: list[list[str]]) -> None:
    table = Table(*head, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print()
