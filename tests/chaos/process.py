"""A process of the deployment, started as always, with points at which it can be struck.

    python -m tests.chaos.process NAME ADDRESS FOLDER -- WORDS of the command line

The points are put around methods of the real code (see armed_*.py); the code itself knows nothing of them.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.orders import Orders
from tests.chaos.victim import Victim


def main(arguments: Sequence[str]) -> None:
    """Arms this process, then runs the command line in it. Each kind loads its own code only."""
    name, address, folder, _, *words = arguments
    victim = Victim(name, address, Orders(Path(folder)))
    victim.watch_group()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # so that one that hangs can be asked where
    if victim.kind.startswith("sink-"):
        from tests.chaos.armed_sinks import arm_sink

        arm_sink(victim)
    else:
        from tests.chaos.armed_transactions import arm_transactions

        arm_transactions(victim)
    from cli.app import main as skyfill

    sys.argv = ["skyfill", *words]
    skyfill()


if __name__ == "__main__":
    main(sys.argv[1:])
