"""The base of the records that describe a source: frozen, and a key that is not known is an error."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Raises pydantic's ValidationError for a value of the wrong type or an unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def kinds_of(union: object) -> dict[str, type[Frozen]]:
    """Classes of an annotated union whose discriminator is the field `kind`, by the name of the kind."""
    classes: tuple[type[Frozen], ...] = get_args(get_args(union)[0])
    return {get_args(one.model_fields["kind"].annotation)[0]: one for one in classes}
