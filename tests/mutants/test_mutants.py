"""The list of mutants keeps fitting the code: a fault that can't be put in would count as found."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_can_be_made_and_judged(mutant: Mutant) -> None:
    sound = (ROOT / mutant.file).read_text("utf-8")
    assert sound.count(mutant.old) == 1
    ast.parse(sound.replace(mutant.old, mutant.new))
    for path in mutant.tests:
        assert (ROOT / path).is_file()


def test_no_two_have_one_name() -> None:
    assert [name for name, count in Counter(m.name for m in MUTANTS).items() if count > 1] == []
