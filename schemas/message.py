"""What all messages share: frozen, strict about unknown keys, JSON in and out."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[int, Field(ge=0, le=2**53)]
"""A count as somebody tells it; what adds such up can always write the sum and read it back."""
Instant = AwareDatetime
"""A point in time; UTC where skyfill writes it."""


class Message(BaseModel):
    """The value of one Kafka message, as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def encode(self) -> bytes:
        """The message's bytes: compact JSON in UTF-8, absent values left out."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Reads what `encode` (or any other producer) wrote; pydantic's ValidationError if it doesn't fit."""
        return cls.model_validate_json(value)
