"""Hypothesis for a machine that does other things as well: no time limit for an example, no files."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("skyfill", deadline=None, database=None)
settings.load_profile("skyfill")
