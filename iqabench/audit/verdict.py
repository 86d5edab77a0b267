"""The verdict on a defense at one eps (DESIGN section 9): numbers in, a word out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iqabench.audit.thresholds import CLEAN_SIGNAL, CONVERGED, DELTA, TAKEN
from iqabench.leaderboard.tables import shown
from iqabench.statistics.resampled import Resampled, weighted_sum

Word = Literal["no signal", "not robust", "masked", "holds", "inconclusive"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a verdict rests on, at one eps.

    Attributes:
        clean: SROCC of the defense without attack, on every test image.
        apparent: N: SROCC beyond the undefended sibling's under plain PGD on its own gradient.
        real: R: the same, each under the worst of the adaptive suite.
        doubling: Mean damage in score that doubling the suite's steps adds; None if not measured.
    """

    clean: Resampled
    apparent: Resampled
    real: Resampled
    doubling: float | None


@dataclass(frozen=True)
class Verdict:
    """A word and why.

    Attributes:
        word: One of ``Word``.
        why: One sentence with the numbers that decided.
    """

    word: Word
    why: str


def judge(evidence: Evidence) -> Verdict:
    """Return the first rule of DESIGN section 9 that applies.

    Bounds are those of 95 % intervals: a defense counts as robust, and as masked, only where the
    interval says so; where about half is taken away, it is inconclusive.
    """
    clean, apparent, real = (
        one.estimate for one in (evidence.clean, evidence.apparent, evidence.real)
    )
    kept = weighted_sum([evidence.real, evidence.apparent], [1.0, TAKEN - 1.0]).estimate
    if clean.low is None or clean.low < CLEAN_SIGNAL:
        return Verdict("no signal", f"clean SROCC is {shown(clean)}: below {CLEAN_SIGNAL:g}")
    if apparent.low is None or apparent.low <= DELTA:
        return Verdict(
            "not robust",
            f"plain PGD leaves {shown(apparent)} more than of the undefended network: not above"
            f" {DELTA:g}",
        )
    numbers = f"plain PGD leaves {shown(apparent)} more, the adaptive suite {shown(real)}"
    if kept.high is not None and kept.high < 0:
        return Verdict("masked", f"{numbers}: more than half of it is taken away")
    half_is_left = kept.value is not None and kept.value >= 0
    if half_is_left and real.low is not None and real.low > DELTA:
        if evidence.doubling is not None and evidence.doubling < CONVERGED:
            return Verdict("holds", f"{numbers}, and doubling its steps changes nothing")
        added = "was not tried" if evidence.doubling is None else f"adds {evidence.doubling:.4f}"
        return Verdict("inconclusive", f"{numbers}, but doubling its steps {added}")
    return Verdict("inconclusive", f"{numbers}: neither clearly lost nor clearly kept")
