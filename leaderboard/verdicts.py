"""Which audits are about which rows, and their verdicts as badges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from iqabench.leaderboard.fields import Number, estimate_number
from iqabench.leaderboard.load import Entry
from iqabench.metrics import Estimate

KINDS = {
    "holds": "good",
    "masked": "bad",
    "not robust": "warn",
    "no signal": "warn",
    "inconclusive": "open",
}
"""How a badge looks; its word always stands in it."""


@dataclass(frozen=True)
class Badge:
    """A verdict at one eps.

    Attributes:
        eps_255: Radius in grey levels.
        word: The verdict.
        kind: How it looks; a value of ``KINDS``.
        why: One line.
        images: How many images were attacked; empty if unknown.
    """

    eps_255: float
    word: str
    kind: str
    why: str
    images: str


@dataclass(frozen=True)
class AuditShown:
    """One audit record, for people.

    Attributes:
        title: What was audited, with how many images.
        facts: Names and values.
        findings: One per eps: badge, numbers by name, and the reasons that were raised.
        error: Why there are no findings; empty if there are.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[tuple[Badge, tuple[tuple[str, Number], ...], tuple[str, ...]], ...]
    error: str


def audits_of(entry: Entry, audits: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the records about a row: same defense, data, seed, backbone and recipe.

    An audit may have attacked some images of the data set only, and says so in its title.
    """
    return [audit for audit in audits if _is_about(audit, entry)]


def badge_at(audits: Iterable[Mapping[str, Any]], eps_255: float) -> Badge | None:
    """Return the verdict of the audit of most images at an eps; None if it was not audited."""
    found = [
        (_images(audit), finding)
        for audit in audits
        for finding in audit["findings"]
        if finding.get("eps_255") == eps_255
    ]
    if not found:
        return None
    images, finding = max(found, key=lambda pair: pair[0])
    return _badge(finding, images)


def shown_audit(audit: Mapping[str, Any]) -> AuditShown:
    """Return one record laid out for the page of its defense."""
    images, suite = _images(audit), audit.get("suite") or {}
    facts = {
        "attacked as": audit.get("attacked_as"),
        "beyond": audit.get("sibling"),
        "attack suite": suite.get("name"),
        "conduct": audit.get("conduct"),
    }
    return AuditShown(
        f"{audit['defense']} on {audit['dataset']}, {images} images attacked",
        tuple((name, str(value)) for name, value in facts.items() if value is not None),
        tuple(
            (_badge(f, images), tuple(_numbers(f)), tuple(_raised(f))) for f in audit["findings"]
        ),
        str(audit.get("error") or ""),
    )


def _is_about(audit: Mapping[str, Any], entry: Entry) -> bool:
    about = entry.about
    title, data = str(about["dataset_title"]), str(audit["dataset"])
    names = {audit["defense"], audit.get("attacked_as")}
    same = (
        not names.isdisjoint((about["defense"], entry.label))
        and audit.get("seed") == entry.seed
        and audit.get("backbone") in (None, about["backbone"])
        and audit.get("recipe") in (None, about["recipe"])
    )
    return same and (data == title or data.startswith(f"{title} ("))


def _images(audit: Mapping[str, Any]) -> int:
    return int((audit.get("sample") or {}).get("n", 0))


def _badge(finding: Mapping[str, Any], images: int) -> Badge:
    word = str(finding.get("verdict"))
    eps, why = float(finding["eps_255"]), str(finding.get("why", ""))
    return Badge(eps, word, KINDS.get(word, "open"), why, str(images or ""))


def _numbers(finding: Mapping[str, Any]) -> Iterable[tuple[str, Number]]:
    names = {
        "clean_srocc": "SROCC without attack",
        "apparent": "N, kept beyond the undefended under plain PGD",
        "real": "R, kept beyond it under the adaptive suite",
    }
    for name, text in names.items():
        found = finding.get(name)
        if isinstance(found, dict):
            parts = (found.get(part) for part in ("value", "low", "high"))
            yield text, estimate_number(Estimate(*parts))


def _raised(finding: Mapping[str, Any]) -> Iterable[str]:
    for reason in finding.get("reasons") or ():
        if reason.get("raised"):
            yield " ".join(str(reason.get(part)) for part in ("test", "asks", "found"))
