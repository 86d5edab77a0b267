"""How far a smoothed score can move inside L2 balls: certificates over the images of a split."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqabench.backbones import NO_WEIGHTS, BackboneSpec
from iqabench.chains import Chain
from iqabench.config import to_number
from iqabench.containment import contained, shielded
from iqabench.contracts.certificate import (
    Certifiable,
    Certificate,
    largest_l2,
    samples_needed,
)
from iqabench.contracts.defense import Wrapper
from iqabench.environment import environment
from iqabench.errors import CellError, ConfigError, IncompatibleError
from iqabench.figures.subject import untrained
from iqabench.metrics import Estimate, agreement
from iqabench.models import Models
from iqabench.planning import Entry, Plan
from iqabench.progress import Counter
from iqabench.registry import DEFENSES
from iqabench.resampling import RESAMPLES, Units, expanded_interval
from iqabench.seeding import lent_rng
from iqabench.sides import Geometry, Side

Floats = NDArray[np.float64]

SCHEMA = 1
"""Raise it whenever a field of the record changes its meaning."""
TAIL = 0.95
"""The quantile of widths that is shown beside the median."""


@dataclass(frozen=True)
class Request:
    """What is to be certified.

    Attributes:
        l2: Euclidean radii on the ``[0, 1]`` scale, ascending, each once.
        samples: Noisy passes per image.
        confidence: That both bounds of an image at a radius hold.
    """

    l2: tuple[float, ...]
    samples: int
    confidence: float

    @classmethod
    def parse(cls, l2: str, samples: int, confidence: float) -> Request:
        """Return the request that flags describe.

        Raises:
            ConfigError: A value is wrong.
        """
        if samples < 1:
            raise ConfigError(f"samples must be at least 1, got {samples}; give --samples 1000")
        if not 0 < confidence < 1:
            raise ConfigError(
                f"confidence {confidence:g} is none; give a number between 0 and 1, such as 0.999"
            )
        return cls(tuple(sorted({_radius(text) for text in l2.split(",")})), samples, confidence)

    def check_enough(self, label: str, sigma: float) -> None:
        """See that the smallest radius has finite bounds.

        Raises:
            ConfigError: So few samples say nothing at any of the radii.
        """
        smallest = self.l2[0]
        needed = samples_needed(sigma=sigma, l2=smallest, confidence=self.confidence)
        if self.samples >= needed:
            return
        shown = f"{needed:.0f}" if needed < 1e6 else f"{needed:.1e}"
        raise ConfigError(
            f"{self.samples} samples say nothing of {label} at l2 {smallest:g}: with sigma"
            f" {sigma:g} and confidence {self.confidence:g}, {shown} are needed; raise --samples,"
            " or give a smaller --l2"
        )


@dataclass(frozen=True, eq=False)
class Certified:
    """The certificates of one defense.

    Attributes:
        entry: The defense, its data set and its seed.
        weights_sha256: Hash of its weights.
        sigma: Standard deviation of its noise on the ``[0, 1]`` scale.
        request: What was asked.
        found: The certificates of all images.
    """

    entry: Entry
    weights_sha256: str
    sigma: float
    request: Request
    found: Certificate

    @property
    def label(self) -> str:
        """The defense as people write it."""
        return self.entry.chain.label

    @property
    def side(self) -> Side:
        """The images."""
        return self.entry.data.test

    @property
    def largest_l2(self) -> float:
        """The largest radius with finite bounds."""
        request = self.request
        return largest_l2(sigma=self.sigma, samples=request.samples, confidence=request.confidence)

    @cached_property
    def agreement(self) -> dict[str, Any]:
        """How well the smoothed scores agree with the labels, as cell files say it."""
        rows = self.side.rows
        mos, score = np.array([r.mos for r in rows]), self.found.score
        return agreement(mos, score, score, [r.scene for r in rows]).to_json()

    @property
    def srocc(self) -> Estimate:
        """SROCC of the smoothed scores with the labels."""
        return Estimate(**self.agreement["srocc"])

    @cached_property
    def radii(self) -> tuple[Radius, ...]:
        """What holds at each radius, over the images."""
        units = Units.from_scenes([row.scene for row in self.side.rows])
        bounds = zip(self.request.l2, self.found.low.T, self.found.high.T, strict=True)
        return tuple(Radius.of(l2, low, high, units) for l2, low, high in bounds)


@dataclass(frozen=True)
class Radius:
    """What holds at one radius, over the images.

    Attributes:
        l2: The radius.
        width_median: Median of the widths of the intervals, in score; None if it is infinite.
        width_p95: Their 95th percentile, likewise.
        finite: Share of the images with both bounds finite.
        ordered: Share of the pairs of images whose intervals are disjoint: no two moves inside the
            balls can change their order. None for a single image.
    """

    l2: float
    width_median: float | None
    width_p95: float | None
    finite: float
    ordered: Estimate

    @classmethod
    def of(cls, l2: float, low: Floats, high: Floats, units: Units) -> Radius:
        """Summarise bounds, each ``(N,)``; the interval of ``ordered`` resamples the units."""
        width = high - low
        # Order statistics, not means of two: infinity is no number to interpolate with.
        median, tail = np.quantile(width, [0.5, TAIL], method="inverted_cdf")
        share = float(ordered_share(low, high, np.ones((len(low), 1)))[0])
        value = share if math.isfinite(share) else None
        drawn = ordered_share(low, high, units.weights(RESAMPLES))
        ends = expanded_interval(drawn, value, units.count)
        return cls(
            l2,
            _finite(median),
            _finite(tail),
            float(np.isfinite(width).mean()),
            Estimate(value, *ends),
        )


def ordered_share(low: Floats, high: Floats, weights: Floats) -> Floats:
    """Return the share of the pairs of different images whose intervals are disjoint.

    Args:
        low: ``(N,)``.
        high: ``(N,)``.
        weights: How often each image counts in each resample, ``(N, resamples)``.

    Returns:
        ``(resamples,)``, NaN where there is no pair.

    Example:
        >>> ordered_share(np.array([0, 2, 4.]), np.array([1, 5, 6.]), np.ones((3, 1))).round(3)
        array([0.667])
    """
    order = np.argsort(high)
    below = np.searchsorted(high[order], low, side="left")
    sums = np.zeros((len(low) + 1, weights.shape[1]))
    np.cumsum(weights[order], axis=0, out=sums[1:])
    ordered = (weights * sums[below]).sum(axis=0)
    pairs = (weights.sum(axis=0) ** 2 - (weights**2).sum(axis=0)) / 2
    with np.errstate(invalid="ignore"):
        found: Floats = ordered / pairs
    return found


def check_certifiable(entries: Sequence[Entry], request: Request) -> None:
    """See that every defense has a certificate, and that the samples are enough for it.

    Raises:
        IncompatibleError: One has none; says which have.
        ConfigError: The samples are too few.
    """
    for entry in entries:
        regressor = untrained(entry)
        if not isinstance(regressor, Certifiable):
            raise IncompatibleError(
                f"{entry.chain.label} has no certificate; what gives one, as the outermost part, is"
                f" {' or '.join(_certifiable_names())}: --defense smoothing+resnet"
            )
        request.check_enough(entry.chain.label, regressor.sigma)


def certify_all(plan: Plan, models: Models, request: Request) -> list[Certified]:
    """Find or train every defense of a plan, and certify it on the test side.

    Raises:
        CellError: A training failed, or a certificate is none.
    """
    checkpoints = [models.checkpoint(entry.training) for entry in plan.entries]
    found = []
    for entry, checkpoint in zip(plan.entries, checkpoints, strict=True):
        regressor = models.defended(entry.chain, entry.training, checkpoint)
        assert isinstance(regressor, Certifiable)  # check_certifiable
        progress = models.reporter.counter(f"certifying {entry.chain.label}")
        size = plan.benchmark.batch_size
        with contained("the defense"):
            parts = list(_certificates(regressor, entry, models, request, size, progress))
        whole = Certificate(
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.low for part in parts]),
            np.concatenate([part.high for part in parts]),
        )
        weights = checkpoint.card()["weights_sha256"]
        found.append(Certified(entry, weights, regressor.sigma, request, whole))
    return found


def _certificates(
    regressor: Certifiable,
    entry: Entry,
    models: Models,
    request: Request,
    size: int,
    progress: Counter,
) -> Iterator[Certificate]:
    side = entry.data.test
    for images, _, numbers in side.batches(size):
        part = regressor.certify(
            images.to(models.device),
            side.noise(entry.seed, numbers, "score"),
            l2=request.l2,
            samples=request.samples,
            confidence=request.confidence,
        )
        _check(part, entry.chain.label, (len(numbers), len(request.l2)))
        yield part
        progress(numbers[-1] + 1, len(side))


def _check(part: Certificate, label: str, shape: tuple[int, int]) -> None:
    if part.score.shape != shape[:1] or part.low.shape != shape or part.high.shape != shape:
        raise CellError(f"the certificate of {label} has not the shape {shape}: images, radii")
    if not np.isfinite(part.score).all() or not (part.low <= part.high).all():
        raise CellError(f"the certificate of {label} holds NaN, or a score that is not finite")


def certified_table(found: Sequence[Certified]) -> list[list[object]]:
    """Return the numbers image by image: a header, then a row per defense and image."""
    radii = found[0].request.l2
    bounds = [f"{end}_{l2!r}" for l2 in radii for end in ("low", "high")]
    table: list[list[object]] = [["defense", "image_id", "mos", "score", *bounds]]
    for one in found:
        ends = np.stack([one.found.low, one.found.high], axis=2).reshape(len(one.side), -1)
        for row, score, values in zip(one.side.rows, one.found.score, ends, strict=True):
            shown = [_finite(value) for value in values]
            table.append([one.label, row.image_id, row.mos, float(score), *shown])
    return table


def linf_as_l2(geometry: Geometry) -> float:
    """Return the L2 norm of a move of 1/255 in every value of an image.

    Example:
        >>> round(linf_as_l2(Geometry(resize=320, crop=320)), 2)
        2.17
    """
    return math.sqrt(3 * geometry.crop**2) / 255


def certified_record(found: Sequence[Certified], models: Models) -> dict[str, Any]:
    """Return everything that was found but the images; docs/certificates.md has the fields."""
    entry, request = found[0].entry, found[0].request
    data = entry.data
    return {
        "schema": SCHEMA,
        "dataset": data.describe(),
        "proxy_labels": data.named.component.proxy_labels,
        "split": data.split.fingerprint,
        "seed": entry.seed,
        "images": len(data.test),
        "samples": request.samples,
        "confidence": request.confidence,
        "holds_for": "each image and radius separately",
        "linf_1_255_in_l2": linf_as_l2(data.test.geometry),
        "defenses": [_defense(one) for one in found],
        "environment": environment(models.device),
    }


def _defense(one: Certified) -> dict[str, Any]:
    entry = one.entry
    return {
        "defense": one.label,
        "spec": entry.chain.canonical,
        "components": entry.chain.identities,
        "weights_sha256": one.weights_sha256,
        "backbone": entry.backbone_name,
        "recipe": entry.recipe_name,
        "sigma": one.sigma,
        "largest_finite_l2": one.largest_l2,
        "agreement": one.agreement,
        "radii": [vars(radius) | {"ordered": vars(radius.ordered)} for radius in one.radii],
    }


def _radius(text: str) -> float:
    try:
        l2 = to_number(text)
    except ValueError:
        raise ConfigError(f"l2 {text!r} is not a number; give radii such as 0.01,0.05") from None
    if not (math.isfinite(l2) and l2 > 0):
        raise ConfigError(
            f"l2 {text} is not a radius; give Euclidean norms above 0 of images in [0, 1], such"
            " as 0.01,0.05"
        )
    return l2


def _certifiable_names() -> list[str]:
    """Return the installed defenses with a certificate; a network has to be built to know."""
    found = []
    for name in DEFENSES.names():
        try:
            if not issubclass(DEFENSES.get(name), Wrapper):
                continue
            with shielded(), lent_rng():
                chain = Chain.parse(f"{name}+resnet")
                regressor = chain.build(BackboneSpec("demo_net", NO_WEIGHTS).build())
        except Exception:  # a plugin may raise anything, and others are named all the same
            continue
        if isinstance(regressor, Certifiable):
            found.append(name)
    return found


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
