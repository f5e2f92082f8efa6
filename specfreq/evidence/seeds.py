"""The rule by which seeds are added to a study: written before the first run, and kept with its path."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from specfreq.core.errors import UserError, unknown
from specfreq.evidence import claims, verdicts
from specfreq.evidence.claims import Claim
from specfreq.evidence.verdicts import Verdict


class Looks:
    r"""The seeds of a study, more of them at each look, until its claims are decided.

    The first look is at the seeds given, each later one at twice as many, the last at ``most``: 5, 10, 20.
    A look ends them if every tested claim, or every main one, is decided, or known to within the margin. Each
    of k looks is at the error :math:`\alpha / k`, shared by the claims by Holm's correction, so that the
    chance of any wrong verdict is at most α however often one looks.

        for seeds in looks:
            ...  # train and measure
            looks.saw({"arms": rows})

    Args:
        study: whose claims are judged.
        seeds: those of the first look; further ones count on from the largest.
        most: how many seeds at the last look; by default one look, with the error α.
        margin: half the width of an interval, in points, that is narrow enough without a decision.
        main: names of the claims that decide when to stop; by default all that are tested.

    Raises:
        UserError: no seeds, or one twice; fewer at most than at first; no such study or claim.

    Source: Bonferroni's bound over the looks.
    """

    def __init__(
        self,
        study: str,
        seeds: Sequence[int],
        *,
        most: int | None = None,
        margin: float = 1.0,
        main: Sequence[str] = (),
    ) -> None:
        if not seeds or len(set(seeds)) < len(seeds):
            raise UserError(f"seeds {list(seeds)}: name at least one, and each once")
        last = len(seeds) if most is None else most
        if last < len(seeds):
            raise UserError(f"most={last} seeds are fewer than the {len(seeds)} to begin with; raise most")
        self.sizes = [len(seeds)]
        while self.sizes[-1] < last:
            self.sizes.append(min(2 * self.sizes[-1], last))
        further = range(max(seeds) + 1, max(seeds) + 1 + last - len(seeds))
        self.seeds = [*seeds, *further]
        self.error = verdicts.ERROR / len(self.sizes)
        self.margin = margin
        self.path: list[dict[str, Any]] = []  # for the record, under ``seeds_rule``
        self._study = study
        self._claims = claims.load(study).claims
        known = [claim.name for claim in self._claims]
        for name in main:
            if name not in known:
                raise unknown("claim", name, known, where=study)
        self._main = list(main)

    def __iter__(self) -> Iterator[list[int]]:
        """The seeds of each look, those of the look before among them."""
        self.path = []
        for number, size in enumerate(self.sizes, 1):
            yield self.seeds[:size]
            if len(self.path) < number:
                raise UserError("looks: end each turn of the loop with looks.saw(...), the rows of all seeds")
            if not self.path[-1]["goes on"]:
                return

    def saw(self, content: Mapping[str, Any]) -> None:
        """Judge the claims by the rows of all seeds so far, and note in `path` whether to go on and why.

        Args:
            content: as it goes into the record. Claims about other data or arms are noted as such: no seed is
                added for them.
        """
        number = len(self.path)
        step = {"seeds": self.sizes[number], "error": self.error, "margin": self.margin, "main": self._main}
        if len(self.sizes) == 1:
            self.path.append({**step, "goes on": False, "why": "one look was planned"})
            return
        record = {"study": self._study, **content}
        asked = [claim for claim in self._claims if _is_about(claim, record)]
        found, _ = verdicts.family(asked, record, self.error)
        judged = [pair for pair in zip(asked, found, strict=True) if _tested(*pair)]
        halves = {claim.name: _half(verdict) for claim, verdict in judged}
        awaited = [
            claim.name
            for claim, verdict in judged
            if claim.name in (self._main or halves) and not self._settled(verdict)
        ]
        last = number + 1 == len(self.sizes)
        why = f"open: {', '.join(awaited)}" if awaited else "all decided, or known to within the margin"
        if awaited and last:
            why = f"the last look; {why}"
        self.path.append(
            {
                **step,
                "verdicts": {claim.name: verdict.outcome for claim, verdict in judged},
                "half-widths": halves,
                "about others": [claim.name for claim in self._claims if claim not in asked],
                "goes on": bool(awaited) and not last,
                "why": why,
            }
        )

    def _settled(self, verdict: Verdict) -> bool:
        """Whether more seeds would not change what is known."""
        if verdict.outcome != verdicts.UNDECIDED or verdict.void:
            return True
        half, effect = _half(verdict), verdict.effect
        return half is not None and effect is not None and effect.unit == " %" and half <= self.margin


def _is_about(claim: Claim, record: Mapping[str, Any]) -> bool:
    """Whether a record has what a claim compares."""
    try:
        verdicts.check(claim, record)
    except UserError:
        return False
    return True


def _tested(claim: Claim, verdict: Verdict) -> bool:
    """Whether intervals decide a claim, and there are any."""
    return verdict.effect is not None and verdicts.RULES[claim.judge].tested


def _half(verdict: Verdict) -> float | None:
    """Half the width of the interval that a verdict rests on; None for a single seed."""
    effect = verdict.effect
    if effect is None or effect.low is None or effect.high is None:
        return None
    half = (effect.high - effect.low) / 2
    return half if math.isfinite(half) else None
