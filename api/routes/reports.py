"""How complete a job is."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api/backfill", tags=["jobs"])
