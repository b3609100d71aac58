"""What all sections of a document share: strict about unknown keys, immutable, and a few kinds of text."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from schemas.secrets import mask

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
NSID = r"[a-zA-Z][a-zA-Z0-9-]{0,62}(\.[a-zA-Z0-9-]{1,63})+"
"""A collection's name, without anchors."""


class Section(BaseModel):
    """A mapping of the document; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _on_this_machine(path: str) -> str:
    if "://" in path:
        raise ValueError(f"{mask(path)} is no path of this machine; write it without a scheme")
    return path


def _day_not_number(day: object) -> object:
    if isinstance(day, int | float):  # pydantic would take it for seconds since 1970
        raise ValueError(f"{day} is a number; write a day as YYYY-MM-DD")
    return day


Day = Annotated[date, BeforeValidator(_day_not_number)]
LocalPath = Annotated[str, Field(min_length=1), AfterValidator(_on_this_machine)]
