"""`/healthz` and `/readyz`, for whoever keeps processes running: the only endpoints without a token."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from api.problems import Problem, described
from api.services import Services, services_of
from schemas.errors import DeploymentError

router = APIRouter(tags=["health"])
_READY_SECONDS = 2.0


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """Whether the process lives. It asks nobody."""
    return Health()


@router.get("/readyz", responses={503: described(503)[503]})
async def readyz(services: Annotated[Services, Depends(services_of)]) -> Health:
    """Whether the broker answers and all that lies in its topics is read; else what is missing."""
    try:
        await services.boards.fresh(_READY_SECONDS)
    except DeploymentError as error:
        raise Problem(503, "not-ready", str(error), headers={"Retry-After": "2"}) from error
    return Health()
