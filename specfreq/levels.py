"""The size of a change of an image, counted in levels of 255, as a typed option; apart from `attacks`, which load torch."""

from typing import Annotated

from pydantic import AfterValidator, Field


def _levels(value: float) -> float:
    if 0 < value < 0.5:
        raise ValueError(f"it is counted in 255ths; for {value} of [0, 1] write {255 * value:g}")
    return value


# the largest change of a value, counted in 255ths as in 8/255: 0 or at least half a level, so that 0.03 is not misread
Levels = Annotated[float, Field(ge=0, le=255), AfterValidator(_levels)]
