"""A process without a slot gets one that nobody has, and its successor gets the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from local.slots import held_slot
from schemas.errors import ConfigError

HOLDER = """
import sys, time
from pathlib import Path
from local.slots import held_slot
with held_slot(Path(sys.argv[1]), "worker", None) as slot:
    print(slot, flush=True)
    time.sleep(60)
"""


def test_the_lowest_free_slot_is_taken_and_given_back(tmp_path: Path) -> None:
    with (
        held_slot(tmp_path, "worker", None) as first,
        held_slot(tmp_path, "worker", None) as second,
        held_slot(tmp_path, "tracker", None) as tracker,
    ):
        assert (first, second, tracker) == (0, 1, 0)
    with held_slot(tmp_path, "worker", None) as again:
        assert again == 0


def test_the_slot_of_a_killed_process_goes_to_its_successor(tmp_path: Path) -> None:
    with held_slot(tmp_path, "worker", None) as own:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        assert (own, holder.stdout.readline()) == (0, "1\n")
        with held_slot(tmp_path, "worker", None) as third:
            assert third == 2
        holder.kill()
        holder.communicate()
        with held_slot(tmp_path, "worker", None) as successor:
            assert successor == 1


def test_a_slot_that_was_asked_for_is_had_in_any_case(tmp_path: Path) -> None:
    with held_slot(tmp_path, "worker", 3) as first, held_slot(tmp_path, "worker", 3) as second:
        assert (first, second) == (3, 3)
        with held_slot(tmp_path, "worker", 0), held_slot(tmp_path, "worker", None) as free:
            assert free == 1, "what was asked for counts as taken"


def test_a_folder_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "slots").write_text("a file is in the way")
    with pytest.raises(ConfigError, match="SKYFILL_DATA_DIR"), held_slot(tmp_path, "worker", None):
        pass
