"""The controls: defenses whose robustness is known, and how the audit does on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import yaml
from scipy import stats

from iqabench.audit.auditing import Audit
from iqabench.audit.thresholds import DELTA

Truth = Literal["masked", "honest", "useless"]


@dataclass(frozen=True)
class Control:
    """One defense with a known answer.

    Attributes:
        kind: What it is, for people; there are three of each kind.
        truth: ``masked``: it hides its gradient; ``honest``: it hides nothing, robust or not;
            ``useless``: no signal to defend.
        spec: The defense.
        seed: Of its training.
    """

    kind: str
    truth: Truth
    spec: str
    seed: int


@dataclass(frozen=True)
class Share:
    """A count with its Clopper-Pearson interval.

    Attributes:
        count: How many.
        total: Of how many.
    """

    count: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the share."""
        if self.total == 0:
            return 0.0, 1.0
        found = stats.binomtest(self.count, self.total).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)


def controls() -> list[Control]:
    """Return every control, in the order of ``controls.yaml``."""
    text = resources.files("iqabench.audit").joinpath("controls.yaml").read_text(encoding="utf-8")
    return [
        Control(kind["kind"], kind["truth"], spec, seed)
        for kind in yaml.safe_load(text)
        for spec in kind["specs"]
        for seed in kind.get("seeds", [0])
    ]


def confusion(found: Sequence[tuple[Control, Audit]]) -> dict[str, Any]:
    """Return how often the audit was right, at the eps of each finding.

    A mask that plain PGD beats anyway (N not above delta) hides nothing from it and is no control;
    it is counted apart.

    Returns:
        ``exposed`` and ``accused`` (``Share``), ``table`` (verdicts by truth), ``by_kind``
        (verdicts by kind), ``no_control`` (masks without effect) and ``failed``.
    """
    table: dict[str, Counter[str]] = {truth: Counter() for truth in ("masked", "honest", "useless")}
    by_kind: dict[str, Counter[str]] = {}
    no_control, failed = [], []
    for control, audit in found:
        if audit.error is not None:
            failed.append(f"{control.spec} (seed {control.seed}): {audit.error}")
        for finding in audit.findings:
            low = finding.evidence.apparent.estimate.low
            if control.truth == "masked" and (low is None or low <= DELTA):
                no_control.append(f"{control.spec} at {finding.eps_255:g}/255")
                continue
            table[control.truth][finding.verdict.word] += 1
            by_kind.setdefault(control.kind, Counter())[finding.verdict.word] += 1
    return {
        "exposed": Share(table["masked"]["masked"], table["masked"].total()),
        "accused": Share(table["honest"]["masked"], table["honest"].total()),
        "table": table,
        "by_kind": by_kind,
        "no_control": no_control,
        "failed": failed,
    }
