"""The terminal: what is asked for goes to stdout, progress and errors to stderr.

Everything is printed as it is: brackets and colons of ids, paths and messages are no markup.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNLIMITED = 1000


def _console(*, stderr: bool, soft_wrap: bool = True) -> Console:
    """On a terminal as wide as that; elsewhere nothing is cut or wrapped, whoever reads it.

    With `soft_wrap` the terminal itself breaks long lines, so that paths can be copied.
    """
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=soft_wrap,
        width=None if stream.isatty() else _UNLIMITED,
    )


out = _console(stderr=False)
err = _console(stderr=True)
canvas = _console(stderr=True, soft_wrap=False)
"""For what is drawn in place: its lines have to be counted."""


def tell_error(text: str) -> None:
    """Says what went wrong and what to do."""
    err.print(Text.assemble(("error:", "bold red"), " ", text))


def table(*columns: str, numbers: bool = False) -> Table:
    """A table without lines; with `numbers`, all columns but the first are right-justified."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for place, column in enumerate(columns):
        made.add_column(column, justify="right" if numbers and place else "left")
    return made
