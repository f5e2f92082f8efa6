"""Claims and numbers that were published, as `book/claims.yaml` has them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from specfreq import filters
from specfreq.core import places, storage
from specfreq.core.errors import UserError, unknown


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Number(_Strict):
    """A published test accuracy in %: as the program printed it, and as its summary lists it."""

    printed: float | None = None
    listed: float | None = None
    note: str = ""


class Measured(_Strict):
    """A published number of an arm, in %: of what, and with which network and schedule."""

    data: str
    rows: str = "arms"  # which rows of the record have ours
    quantity: str
    arm: str
    published: float
    setting: str
    note: str = ""


class Claim(_Strict):
    """A statement about some filters or arms, or quantities of one, and the rule that judges it; or why
    nothing here can.
    """

    statement: str
    source: str = ""  # where the original says so
    data: str = ""
    rows: str = "arms"  # which rows of the record tell
    quantity: str | list[str] = "accuracy"
    judge: Literal["at_chance", "falls", "rises", "within_a_point", "at_most", "untestable"]
    limit: float | None = None  # of at_most
    unit: str = " %"
    filters: list[str] = []
    arms: list[str] = []
    why: str = ""

    @property
    def quantities(self) -> list[str]:
        return self.quantity if isinstance(self.quantity, list) else [self.quantity]

    @property
    def compared(self) -> list[tuple[str, str]]:
        """Arm, or filter in its normal form, and quantity of each row that the rule compares, in order."""
        names = self.arms or [filters.normal_form(f) for f in self.filters]
        return [(name, quantity) for name in names for quantity in self.quantities]

    @model_validator(mode="after")
    def _compares(self) -> "Claim":
        """A fall from one number to none would always be found."""
        if self.judge != "untestable":
            wanted = 1 if self.judge in ("at_chance", "at_most") else 2
            if len(self.arms or self.filters) * len(self.quantities) < wanted:
                raise ValueError(f"{self.judge} compares at least {wanted}: name so many filters or arms")
            if (self.judge == "at_most") != (self.limit is not None):
                raise ValueError("at_most has a limit, and nothing else has")
        elif not self.why:
            raise ValueError("untestable says why")
        return self


class Claims(_Strict):
    """What a study's original published."""

    published: dict[str, dict[str, Number]] = {}
    numbers: list[Measured] = []
    claims: list[Claim]


def load(study: str) -> Claims:
    """The published numbers and claims of a study.

    Raises:
        UserError: no such study in `book/claims.yaml`, or the file does not fit its description.
    """
    path = places.root() / "book" / "claims.yaml"
    try:
        studies = TypeAdapter(dict[str, Claims]).validate_python(storage.read_yaml(path))
    except ValidationError as error:
        raise UserError(f"{path.name}: {error}") from None
    if study not in studies:
        raise unknown("study", study, studies, where=path.name)
    return studies[study]
