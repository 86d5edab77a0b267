"""The tests T1 to T11 of METHODS 7.3: reasons that are shown with a verdict, not its rule."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from iqabench.audit import thresholds as limit
from iqabench.audit.probes import Probes
from iqabench.audit.reading import Reader
from iqabench.planning import attack

QUARTER_255 = 0.25
"""Step at which T5 is judged, in grey levels."""
FINEST_255, COARSEST_255 = 0.01, 0.1
"""Half widths between which T7 is judged, in grey levels."""


@dataclass(frozen=True)
class Reason:
    """One test.

    Attributes:
        test: ``T1`` to ``T11``.
        asks: What it asks, for people.
        found: What it found, with numbers.
        raised: Whether it speaks for a mask (T8: for a suite that has not converged).
    """

    test: str
    asks: str
    found: str
    raised: bool


def reasons(reader: Reader, eps_255: Sequence[float], at: float, probes: Probes) -> list[Reason]:
    """Return every test at one eps.

    Args:
        reader: The cells.
        eps_255: Every radius of the audit, for T3.
        at: The radius.
        probes: Of the defense's gradient.

    Raises:
        ResultsError: A cell is missing, failed or damaged.
    """
    found = [*_attacks(reader, at), *_growth(reader, eps_255)]
    found += [*_gradient(probes), *_ways(reader, at)]
    return sorted(found, key=lambda reason: int(reason.test[1:]))


def _attacks(reader: Reader, at: float) -> Iterator[Reason]:
    plain = reader.damage("plain", at, own=True)
    roles = reader.suite.roles  # the row as given may have met the plain attack alone
    own = [reader.most([roles[role]], at, own=True) for role in ("single", "plain")]
    yield _share("T1", "does one step beat ten on the same gradient?", *own)
    white, black = _by_access(reader)
    best = reader.most(white, at, own=True)
    yield _share(
        "T2", "do attacks without a gradient beat those with one?", reader.most(black, at), best
    )
    yield _share("T4", "does random noise beat the gradient?", reader.damage("noise", at), plain)
    doubled, base = (reader.damage(role, at).mean() for role in ("doubled", "base"))
    yield Reason(
        "T8",
        "does doubling the steps add damage?",
        f"{doubled - base:+.4f} in score, on {base:.3f}",
        bool(doubled - base >= limit.CONVERGED),
    )
    transfer = reader.damage("transfer", at).mean() - plain.mean()
    yield Reason(
        "T9",
        "do images made on the undefended network do more damage than the defense's own gradient?",
        f"{transfer:+.3f} in score, on {plain.mean():.3f}",
        bool(transfer > limit.EXTRA),
    )


def _growth(reader: Reader, eps_255: Sequence[float]) -> Iterator[Reason]:
    means = [float(reader.damage("plain", eps, own=True).mean()) for eps in eps_255]
    lost = max((a - b for a, b in itertools.pairwise(means)), default=0.0)
    shown = ", ".join(f"{m:.3f} at {e:g}" for m, e in zip(means, eps_255, strict=True))
    yield Reason("T3", "does a larger eps do less damage?", f"mean {shown}", lost > limit.EXTRA)


def _gradient(probes: Probes) -> Iterator[Reason]:
    steps = ", ".join(f"{value:.2f} at {step:g}/255" for step, value in probes.linearity.items())
    yield Reason(
        "T5",
        "does a step along the gradient bring what the gradient promises?",
        f"share that comes true: {steps}; cosine a tenth of a grey level away {probes.turning:.2f}",
        not limit.LINEAR <= probes.linearity[QUARTER_255] <= 1 / limit.LINEAR,
    )
    yield Reason(
        "T6",
        "is there a gradient?",
        f"zero on {probes.zero_gradients:.0%}, logit saturated on {probes.saturated:.0%} of the"
        f" images; median L1 norm {probes.gradient_l1[1]:.3g}",
        max(probes.zero_gradients, probes.saturated) > limit.SHARE,
    )
    if probes.differences is None:
        yield Reason("T7", "do finite differences agree?", "does not run in float64", False)
        return
    widths = ", ".join(f"{v:.2f} at {w:g}/255" for w, v in probes.differences.items())
    judged = [v for w, v in probes.differences.items() if FINEST_255 <= w <= COARSEST_255]
    wrong = any(not limit.AGREES <= value <= 1 / limit.AGREES for value in judged)
    yield Reason("T7", "do finite differences agree?", f"share of the slope: {widths}", wrong)


def _ways(reader: Reader, at: float) -> Iterator[Reason]:
    cell = reader.entry.attacked[reader.role("plain"), at].record.cell
    ways = cell["attack"].get("routes", [])
    gain = float((reader.damage("plain", at) - reader.damage("plain", at, own=True)).mean())
    others = [way for way in ways if way not in ("own", "expectation")]
    if others:
        found = f"{gain:+.3f} in score through {', '.join(others)}"
        asks = "does a way around the defense's mask do more damage?"
        yield Reason("T10", asks, found, gain > limit.EXTRA)
    if "expectation" in ways:
        found = f"{gain:+.3f} in score over the gradient of one draw"
        asks = "does the expectation over draws do more damage?"
        yield Reason("T11", asks, found, gain > limit.EXTRA)


def _share(test: str, asks: str, wrong: np.ndarray, right: np.ndarray) -> Reason:
    share = float((wrong > right + limit.MARGIN).mean())
    mean = float((wrong - right).mean())
    return Reason(
        test, asks, f"on {share:.0%} of the images; {mean:+.3f} in mean", share > limit.SHARE
    )


def _by_access(reader: Reader) -> tuple[list[str], list[str]]:
    """Return the members that follow the defense's own gradient, and those that see none of it."""
    white, black = [], []
    for member in reader.suite.members:
        component = attack(member).component
        if component.access != "white-box":
            black.append(member)
        elif member != reader.suite.roles["smoothed"]:
            white.append(member)
    return white, black
