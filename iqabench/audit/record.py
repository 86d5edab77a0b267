"""An audit as plain values, for the JSON record, the page and the terminal."""

from __future__ import annotations

from typing import Any

from iqabench.audit import thresholds
from iqabench.audit.auditing import Audit, Finding
from iqabench.audit.reading import Reader
from iqabench.leaderboard.load import Group
from iqabench.metrics import Estimate
from iqabench.suites import Suite, find_member

SCHEMA = 1
"""Raise it whenever a field of the record changes its meaning."""


def record(audit: Audit, suite: Suite) -> dict[str, Any]:
    """Return everything that an audit found; docs/audit.md describes the fields."""
    row = audit.row
    return {
        "schema": SCHEMA,
        "defense": audit.label,
        "attacked_as": audit.attacked,
        "dataset": audit.group.title if audit.group else audit.dataset,
        "proxy_labels": audit.group.proxy_labels if audit.group else None,
        "sample": _sample(audit.group),
        "clean_sample": _sample(audit.whole),
        "seed": audit.seed,
        "backbone": row.about["backbone"] if row else None,
        "recipe": row.about["recipe"] if row else None,
        "sibling": audit.sibling.label if audit.sibling else None,
        "suite": {"name": suite.name, "members": list(suite.members)},
        "conduct": audit.conduct.found if audit.conduct else None,
        "probes": audit.probes.to_json() if audit.probes else None,
        "findings": [_finding(audit, finding, suite) for finding in audit.findings],
        "gradients": _cost(audit, suite, "backwards"),
        "values": _cost(audit, suite, "forwards"),
        "thresholds": {k: v for k, v in vars(thresholds).items() if k.isupper()},
        "error": audit.error,
    }


def _finding(audit: Audit, finding: Finding, suite: Suite) -> dict[str, Any]:
    evidence = finding.evidence
    return {
        "eps_255": finding.eps_255,
        "verdict": finding.verdict.word,
        "why": finding.verdict.why,
        "clean_srocc": _estimate(evidence.clean.estimate),
        "apparent": _estimate(evidence.apparent.estimate),
        "real": _estimate(evidence.real.estimate),
        "doubling": evidence.doubling,
        "srocc": _curves(audit, finding.eps_255, suite),
        "reasons": [vars(reason) for reason in finding.reasons],
    }


def _curves(audit: Audit, eps_255: float, suite: Suite) -> list[dict[str, Any]]:
    """Return SROCC under every member, of the defense and of its sibling."""
    if audit.group is None or audit.row is None or audit.sibling is None:
        return []
    reader = Reader(audit.group, suite, audit.row, audit.row, audit.sibling)
    defense, sibling = (reader.curve(e, eps_255) for e in (audit.row, audit.sibling))
    return [
        {
            "attack": label,
            "defense": _estimate(found.estimate),
            "sibling": _estimate(sibling[label].estimate),
        }
        for label, found in defense.items()
    ]


def _cost(audit: Audit, suite: Suite, kind: str) -> float | None:
    """Return passes of the suite against the defense and its sibling, over all images."""
    if audit.group is None or audit.row is None or audit.sibling is None:
        return None
    specs = {find_member(member, audit.group.attacks) for member in suite.members}
    eps_255 = {finding.eps_255 for finding in audit.findings}
    sweeps: dict[tuple[str, str, str], float] = {}
    for row in (audit.row, audit.sibling):
        for (attack, eps), cell in row.attacked.items():
            if attack in specs and eps in eps_255:
                cost, metrics = cell.record.cost or {}, cell.record.metrics or {}
                # Radii that were computed together share one sweep, and each cell says all of it.
                sweep = (row.label, attack, str(cost.get("eps_255_together")))
                sweeps[sweep] = cost.get(kind, 0) * metrics.get("n", 0)
    return sum(sweeps.values())


def _sample(group: Group | None) -> dict[str, Any] | None:
    return vars(group.sample) if group and group.sample else None


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
