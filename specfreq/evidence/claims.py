"""Claims and numbers that were published, as `book/claims.yaml` has them."""

import json
import re
from collections import Counter
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from specfreq import filters
from specfreq.core import places, storage
from specfreq.core.errors import UserError, unknown
from specfreq.evidence.rules import RULES

UNTESTABLE = "untestable"  # what a claim that nothing here can judge has in place of a rule
OPEN = "open"  # and one that no study is about yet

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Label = Annotated[str, StringConstraints(pattern=r"^((fig|tbl)-[a-z0-9-]+)?$")]
DEMONSTRATION = "## Demonstration"  # what is below shows no results of a record


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


class LeftOut(_Strict):
    """What was published and is not compared here, and why."""

    what: Text
    why: Text


class Claim(BaseModel):
    """A statement about filters, arms or quantities of one, and the rule that judges it; or why none can."""

    model_config = ConfigDict(frozen=True, extra="allow")  # the options of the rule

    name: Slug  # its anchor is `anchor`
    statement: Text
    whose: Literal["work", "theory", "ours"]  # theory: of a work that the work builds on
    source: Text  # where it is said
    cite: str = ""  # a key of references.bib, where it is not the work's own
    quote: str = ""  # a few words of it
    setting: str = ""  # of the original: network, data, training
    proxy: str | None = None  # what ours has in its place; empty where the two are the same
    data: str = ""
    rows: str = "arms"  # which rows of the record tell
    quantity: str | list[str] = "accuracy"
    judge: str  # a rule, see `rules`
    filters: list[str] = []
    arms: list[str] = []
    why: str = ""
    images: int | None = None  # fewer test images are flagged
    family: str = ""  # rows of the record: every quantity there can contradict the claim
    passes: Literal["equal", "any"] = "equal"  # of images through the networks that are compared
    unequal: str = ""  # why they need not be equal
    shown: Label = ""  # the figure or table of the study's page that has the numbers

    @property
    def anchor(self) -> str:
        """What links to it end with."""
        return f"claim-{self.name}"

    @property
    def judged(self) -> bool:
        """Whether a rule judges it."""
        return self.judge not in (UNTESTABLE, OPEN)

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
        if not self.judged:
            if self.judge == UNTESTABLE and not self.why:
                raise ValueError("untestable says why")
            if self.model_extra:
                raise ValueError(f"{self.judge} has no options, but {', '.join(self.model_extra)}")
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

    @model_validator(mode="after")
    def _says_where_it_is_from(self) -> "Claim":
        if self.whose != "ours" and not self.setting:
            raise ValueError(f"{self.name}: setting is missing: network, data and training of the original")
        if self.whose != "ours" and self.judged and self.proxy is None:
            raise ValueError(
                f"{self.name}: proxy is missing: what ours has in the place of {self.setting!r}; "
                'write "" if the setting is the same'
            )
        if (self.passes == "any") != bool(self.unequal):
            raise ValueError(f"{self.name}: `passes: any` and `unequal`, which says why, go together")
        return self


class Claims(_Strict):
    """What was published that a study of ours is about."""

    published: dict[str, dict[str, Number]] = {}
    numbers: list[Measured] = []
    left_out: list[LeftOut] = []
    claims: list[Claim]


class Work(_Strict):
    """A published work: the studies of ours about it, and the claims that none of them judges yet."""

    name: Slug
    title: Text
    cite: Text  # a key of references.bib
    studies: list[str]
    open: list[Claim] = []
    left_out: list[LeftOut] = []

    @model_validator(mode="before")
    @classmethod
    def _open_claims_have_no_rule(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        opened = [{"judge": OPEN, **c} if isinstance(c, dict) else c for c in values.get("open", [])]
        return {**values, "open": opened}


class Placed(NamedTuple):
    """A claim, the work that it is of, and the study that judges it: None for one that is open."""

    work: Work
    study: str | None
    claim: Claim


class _File(_Strict):
    """All of `book/claims.yaml`."""

    works: dict[str, Work] = {}
    studies: dict[str, Claims] = {}

    @model_validator(mode="before")
    @classmethod
    def _works_have_names(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("works"), dict):
            return values
        named = {k: {"name": k, **w} if isinstance(w, dict) else w for k, w in values["works"].items()}
        return {**values, "works": named}

    @model_validator(mode="after")
    def _names_are_unique(self) -> "_File":
        of_works = [claim.name for work in self.works.values() for claim in work.open]
        of_studies = [claim.name for study in self.studies.values() for claim in study.claims]
        twice = [name for name, times in Counter([*of_works, *of_studies]).items() if times > 1]
        if twice:
            raise ValueError(f"two claims have the name {twice[0]!r}; each is an anchor of its own")
        return self


def _file() -> _File:
    path = places.root() / "book" / "claims.yaml"
    try:
        return _File.model_validate(storage.read_yaml(path) or {})
    except ValidationError as error:
        raise UserError(f"{path.name}: {error}") from None


def load(study: str) -> Claims:
    """The published numbers and claims of a study.

    Raises:
        UserError: no such study in `book/claims.yaml`, or the file does not fit its description.
    """
    studies = _file().studies
    if study not in studies:
        raise unknown("study", study, studies, where="claims.yaml")
    return studies[study]


def works() -> dict[str, Work]:
    """The works by name, in order.

    Raises:
        UserError: a study of a work has no notebook; a study is of no work, or of two; see `load`.
    """
    found = _file()
    listed = Counter(study for work in found.works.values() for study in work.studies)
    known = [path.stem for path in (places.root() / "notebooks").glob("*.ipynb")]
    for work in found.works.values():
        for study in work.studies:
            if study not in known:
                where = f"work {work.name} in claims.yaml"
                raise unknown("study", study, known, where=where, hint="no such notebook")
            if listed[study] > 1:
                raise UserError(f"claims.yaml: study {study!r} is of two works; name it in one")
    for study in found.studies:
        if study not in listed:
            names = ", ".join(found.works) or "none yet"
            raise UserError(
                f"claims.yaml: study {study!r} is of no work; name it among the studies of one ({names})"
            )
    return found.works


def every() -> list[Placed]:
    """All claims: by work, those of its studies first, then those that are open. See `works` for errors."""
    studies = _file().studies
    found = []
    for work in works().values():
        for study in work.studies:
            claims = studies[study].claims if study in studies else []
            found += [Placed(work, study, claim) for claim in claims]
        found += [Placed(work, None, claim) for claim in work.open]
    return found


def references() -> list[str]:
    """The keys of `book/references.bib`."""
    text = storage.read_text(places.root() / "book" / "references.bib")
    return re.findall(r"^@\w+\{([^,\s]+),", text, re.MULTILINE)


def check_references() -> None:
    """That every `cite` is a key of `book/references.bib`, and every `shown` a label of its study's page.

    Raises:
        UserError: one is not, and the nearest is suggested; a claim that is judged names no label.
    """
    known = references()
    cited = {f"work {work.name}": work.cite for work in works().values()}
    cited |= {f"claim {placed.claim.name}": placed.claim.cite for placed in every() if placed.claim.cite}
    for where, key in cited.items():
        if key not in known:
            raise unknown("reference", key, known, where=where, hint="book/references.bib")
    for _, study, claim in every():
        if study is not None and (claim.judged or claim.shown):
            _check_shown(claim, study)


def _check_shown(claim: Claim, study: str) -> None:
    known = labels(study)
    where = f"claim {claim.name}"
    hint = f"results of the study {study}"
    if not claim.shown:
        raise UserError(
            f"{where}: shown is missing: the figure or table with its numbers ({hint}: {', '.join(known)})"
        )
    if claim.shown not in known:
        raise unknown("figure or table", claim.shown, known, where=where, hint=hint)


def labels(study: str) -> list[str]:
    """The labels of the figures and tables on a study's page that show results: those of its demonstration
    aside, and those whose name is not written out in its notebook.
    """
    text = storage.read_text(places.root() / "notebooks" / f"{study}.ipynb")
    found = []
    for cell in json.loads(text).get("cells", []):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and re.search(rf"^{DEMONSTRATION}", source, re.MULTILINE):
            break
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        found += [figure["name"]] if "name" in figure else []
        found += re.findall(r"[\"'](tbl-[a-z0-9-]+)[\"']", source) if cell["cell_type"] == "code" else []
    return list(dict.fromkeys(found))
