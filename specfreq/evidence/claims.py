"""Claims and numbers that were published, as `book/claims.yaml` has them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from specfreq import filters
from specfreq.core import places, storage
from specfreq.core.errors import UserError, unknown
from specfreq.evidence.rules import RULES

UNTESTABLE = "untestable"  # what a claim that nothing here can judge has in place of a rule


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


class Claim(BaseModel):
    """A statement about filters, arms or quantities of one, and the rule that judges it; or why none can."""

    model_config = ConfigDict(frozen=True, extra="allow")  # the options of the rule

    statement: str
    source: str = ""  # where the original says so
    data: str = ""
    rows: str = "arms"  # which rows of the record tell
    quantity: str | list[str] = "accuracy"
    judge: str  # a rule, see `rules`
    filters: list[str] = []
    arms: list[str] = []
    why: str = ""

    @property
    def compared(self) -> list[tuple[str, str]]:
        """Arm, or filter in its normal form, and quantity of each row that the rule compares, in order."""
        names = self.arms or [filters.normal_form(f) for f in self.filters]
        quantities = self.quantity if isinstance(self.quantity, list) else [self.quantity]
        return [(name, quantity) for name in names for quantity in quantities]

    @property
    def options(self) -> dict[str, Any]:
        """Those of the rule, defaults filled in."""
        return RULES[self.judge].options(**(self.model_extra or {})).model_dump()

    @model_validator(mode="after")
    def _fits_its_rule(self) -> "Claim":
        """A fall from one number to none would always be found."""
        if self.judge == UNTESTABLE:
            if not self.why or self.model_extra:
                raise ValueError("untestable says why, and has no options")
            return self
        if self.judge not in RULES:
            raise unknown("rule", self.judge, [*RULES, UNTESTABLE])
        least = RULES[self.judge].least
        if len(self.compared) < least:
            raise ValueError(f"{self.judge} compares at least {least}: name as many filters or arms")
        try:
            RULES[self.judge].options(**(self.model_extra or {}))
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{self.judge}, {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
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
