"""What every attack has to keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from iqabench import budget
from iqabench.contracts.attack import Access, Attack, AttackBatch, Passes, ThreatModel
from iqabench.contracts.noise import Noise
from iqabench.contracts.objective import Facts
from iqabench.contracts.regressor import Expectation, Regressor, RegressorWrapper
from iqabench.errors import BudgetError
from iqabench.specs import parse
from iqabench.testing.components import check_component
from iqabench.testing.fixtures import (
    LinearRegressor,
    NoisyRegressor,
    SmoothRegressor,
    frozen,
    tiny_images,
    tiny_mos,
    tiny_noise,
)
from iqabench.testing.rules import (
    BrokenRuleError,
    asking,
    one_thread,
    require,
    require_same,
    scrambled,
    untouched,
)

EPS = (0.0, 0.5 / 255, 1 / 255, 8 / 255)
LARGEST = EPS[-1]
UNSORTED = (EPS[3], EPS[0], EPS[2], EPS[1])
_ORDER = (5, 2, 7, 0, 3, 6, 1, 4)
_EQUAL = 1e-6
"""Two results are one: float32 rounding, far below a grey level."""
_VISIBLE = 0.05 / 255
"""A pixel that differs by more than rounding."""
_FLIPS = 0.02
"""Share of an image's pixels that may differ between batches: a gradient of nearly zero can take
either sign. A result that depends on the batch differs in far more."""


@one_thread()
def check_attack(attack: type[Attack] | Attack) -> None:
    """Check an attack against every rule of its contract.

    It is run as the harness runs it (``prepare``, ``fit`` where needed, then ``perturb`` and
    ``sweep``) on tiny regressors: a smooth one, a linear one on images that are not square, and the
    expectation over a stochastic one. The images hold pixels at 0 and at 1.

    Args:
        attack: A class, which is checked with its defaults, or an instance of one.

    Raises:
        BrokenRuleError: It breaks a rule; the message says which.
    """
    __tracebackhide__ = True
    component = check_component(attack)
    who = type(component).__name__
    require(isinstance(component, Attack), who, "is no Attack")
    _check_declarations(component, who)
    smooth, linear, noisy = (_Bench(who, component, scene) for scene in _scenes())
    for bench in (smooth, linear):
        results = {eps: bench.perturb(eps) for eps in EPS}
        bench.check_moves(results)
        bench.check_repeats(results[LARGEST])
        bench.check_sweep(results)
        bench.check_batches(results[LARGEST])
    noisy.check_repeats(noisy.perturb(LARGEST))
    smooth.check_access(smooth.perturb(LARGEST))


@dataclass(frozen=True)
class _Scene:
    """A regressor and a split to attack it on."""

    regressor: Regressor
    images: Tensor
    mos: Tensor
    noise: Noise

    def facts(self, specs: Sequence[str]) -> Facts:
        with torch.no_grad():
            logits = self.regressor.logit(self.images, self.noise).tolist()
        sources = {s: frozen(SmoothRegressor(seed=i + 1)) for i, s in enumerate(specs)}
        return Facts(self.noise.image_ids, self.mos.tolist(), logits, dict(sources))


def _scenes() -> Iterator[_Scene]:
    """Yield a smooth, a linear and a stochastic scene; each regressor inside a plain wrapper."""
    noisy = NoisyRegressor(SmoothRegressor())
    targets: tuple[tuple[Regressor, int, int], ...] = (
        (RegressorWrapper(SmoothRegressor()), 12, 12),
        (RegressorWrapper(LinearRegressor()), 9, 14),
        (Expectation(RegressorWrapper(noisy), draws=2), 8, 10),
    )
    for regressor, height, width in targets:
        images = tiny_images(height=height, width=width)
        yield _Scene(frozen(regressor), images, tiny_mos(), tiny_noise())


def _check_declarations(attack: Attack, who: str) -> None:
    for name, value, known in (
        ("threat_model", attack.threat_model, get_args(ThreatModel)),
        ("access", attack.access, get_args(Access)),
    ):
        require(value in known, who, f"declares {name} = {value!r}, not one of {', '.join(known)}")
    queries = attack.queries
    counted = isinstance(queries, int) and queries > 0
    if attack.access == "black-box":
        require(counted, who, "is black-box and does not say how many queries it makes per image")
    require(queries is None or counted, who, f"declares queries = {queries!r}, no positive number")
    passes = attack.passes(3)
    sensible = passes is None or (
        isinstance(passes, Passes) and min(passes.forwards, passes.backwards) >= 0
    )
    require(sensible, who, f"estimates {passes!r} for three radii, not Passes(...) or None")
    specs = attack.sources()
    require(isinstance(specs, tuple), who, "returns no tuple from sources()")
    for spec in specs:
        with asking(who, f"reading its source {spec!r}"):
            parse(spec)
    named = attack.access != "transfer" or bool(specs)
    require(named, who, "has access 'transfer' and names no sources()")


@dataclass
class _Bench:
    """One attack in one scene."""

    who: str
    attack: Attack
    scene: _Scene

    def ready(self, eps: float, regressor: Regressor) -> Attack:
        """Return the attack prepared and, where it needs to be, fitted for one radius."""
        facts = self.scene.facts(self.attack.sources())
        with untouched(self.who, "prepare", regressor), asking(self.who, "prepare"):
            ready = self.attack.prepare(facts)
        same = isinstance(ready, type(self.attack)) and ready == self.attack
        require(same, self.who, "does not return itself, made ready, from prepare")
        if not ready.needs_fit:
            return ready
        noise = Noise(0, (), scope="fit")
        with untouched(self.who, "fit", regressor), asking(self.who, "fit"):
            fitted = ready.fit(regressor, self._training_batches(), eps, noise)
        same = isinstance(fitted, type(self.attack)) and fitted == self.attack
        require(same, self.who, "does not return itself, fitted, from fit")
        return fitted

    def perturb(
        self,
        eps: float,
        numbers: Sequence[int] | None = None,
        *,
        regressor: Regressor | None = None,
    ) -> Tensor:
        """Return what the attack makes of some images, after the rules of a single call."""
        target = regressor or self.scene.regressor
        ready = self.ready(eps, target)
        results = [self._call(ready, target, eps, numbers)]
        if ready.needs_fit and eps > 0 and numbers is None:
            # The harness checks eps 0 with the attack that was fitted for another radius.
            self._check_unmoved(self._call(ready, target, 0.0, numbers))
        return results[0]

    def check_moves(self, results: dict[float, Tensor]) -> None:
        """Nothing moves at eps 0, and something moves on the scale of eps elsewhere."""
        if self.attack.threat_model != "linf":
            return
        self._check_unmoved(results[0.0])
        for eps in EPS[2:]:
            moved = float((results[eps] - self.scene.images).abs().max())
            reaches = moved > eps / 2 or self.attack.access == "none"
            require(
                reaches,
                self.who,
                f"moves no pixel by more than {moved * 255:.3g}/255 at eps = {eps * 255:g}/255:"
                " is eps on the [0, 1] scale?",
            )

    def check_repeats(self, first: Tensor) -> None:
        """The same noise gives the same images, whatever the global random state."""
        for seed in (1, 2):
            with scrambled(seed):
                again = self.perturb(LARGEST)
            require(
                torch.equal(first, again),
                self.who,
                "gives other images when it is called again with the same noise: all randomness"
                " must come from noise",
            )

    def check_sweep(self, results: dict[float, Tensor]) -> None:
        """A sweep gives what ``perturb`` gives for each radius, in the order asked for."""
        if self.attack.needs_fit:  # the harness fits it for each radius and sweeps that one alone
            for eps in EPS:
                self._sweep([eps], results)
        else:
            self._sweep(UNSORTED, results)

    def check_batches(self, together: Tensor) -> None:
        """Each image's result depends on that image alone."""
        shuffled = self.perturb(LARGEST, _ORDER)
        for place, number in enumerate(_ORDER):
            self._compare(number, together, shuffled[place], "in another order of the batch")
        for number in range(len(together)):
            alone = self.perturb(LARGEST, [number])
            self._compare(number, together, alone[0], "alone")

    def check_access(self, result: Tensor) -> None:
        """The attack asks no more of the defense than it declares."""
        access = self.attack.access
        if access == "white-box":
            return
        watched = _Watched(self.scene.regressor)
        again = self.perturb(LARGEST, regressor=watched)
        if access == "none":
            require(watched.asked == 0, self.who, "declares access 'none' and asks the regressor")
        equal = torch.allclose(again, result, rtol=0, atol=_EQUAL)
        require(equal, self.who, f"declares access {access!r} and needs the regressor's gradient")
        queries = self.attack.queries
        if queries is not None:
            asked = watched.asked / len(result)
            within = asked <= queries
            require(within, self.who, f"declares {queries} queries per image and makes {asked:g}")

    def _call(
        self, ready: Attack, target: Regressor, eps: float, numbers: Sequence[int] | None
    ) -> Tensor:
        with (
            self._inputs(numbers) as (images, mos, noise),
            untouched(self.who, "perturb", target),
            asking(self.who, f"perturb at eps = {eps * 255:g}/255"),
        ):
            result = ready.perturb(target, images, mos, eps, noise)
        return self._accept(result, eps, numbers)

    def _sweep(self, radii: Sequence[float], results: dict[float, Tensor]) -> None:
        target = self.scene.regressor
        ready = self.ready(radii[0], target)
        found: list[Tensor] = []
        with (
            self._inputs(None) as (images, mos, noise),
            untouched(self.who, "sweep", target) as around,
            asking(self.who, "sweep"),
        ):
            batches = iter(ready.sweep(target, images, mos, list(radii), noise))
            while len(found) <= len(radii) and (batch := next(batches, None)) is not None:
                require_same(around, self.who, "sweep, when it yields")
                found.append(self._accept(batch, radii[min(len(found), len(radii) - 1)], None))
        fits = len(found) == len(radii)
        count = "more" if len(found) > len(radii) else str(len(found))
        require(fits, self.who, f"yields {count} batches in a sweep over {len(radii)} radii")
        for eps, batch in zip(radii, found, strict=True):
            require(
                torch.allclose(batch, results[eps], rtol=0, atol=_EQUAL),
                self.who,
                f"gives other images in a sweep than perturb does at eps = {eps * 255:g}/255",
            )

    def _accept(self, result: object, eps: float, numbers: Sequence[int] | None) -> Tensor:
        attached = isinstance(result, Tensor) and result.requires_grad
        require(not attached, self.who, "returns images with a graph attached: detach them")
        clean = self.scene.images[list(numbers) if numbers is not None else slice(None)]
        try:
            checked = budget.check(clean, result, eps=eps, threat_model=self.attack.threat_model)
        except BudgetError as e:
            shown = f"breaks the budget at eps = {eps * 255:g}/255"
            raise BrokenRuleError(f"{self.who} {shown}: {e}") from e
        return checked.clone()

    def _check_unmoved(self, result: Tensor) -> None:
        if self.attack.threat_model == "linf":
            require(torch.equal(result, self.scene.images), self.who, "moves pixels at eps 0")

    def _compare(self, number: int, together: Tensor, other: Tensor, how: str) -> None:
        flips = float(((together[number] - other).abs() > _VISIBLE).float().mean())
        noise = self.scene.noise.select([number])
        with torch.no_grad():
            clean, first, second = (
                float(self.scene.regressor.logit(x[None], noise))
                for x in (self.scene.images[number], together[number], other)
            )
        same = flips <= _FLIPS and abs(first - second) <= max(_FLIPS * abs(first - clean), 1e-4)
        require(
            same,
            self.who,
            f"gives an image another result when it is attacked {how} ({flips:.0%} of its pixels"
            " differ): each image's result must depend on that image alone",
        )

    def _inputs(self, numbers: Sequence[int] | None) -> _Inputs:
        chosen = range(len(self.scene.images)) if numbers is None else numbers
        return _Inputs(self.who, self.scene, list(chosen))

    def _training_batches(self) -> list[AttackBatch]:
        """Return batches that can be gone through several times, as the harness's can."""
        height, width = self.scene.images.shape[2:]
        return [
            AttackBatch(
                tiny_images(height=height, width=width, seed=seed),
                tiny_mos(),
                tiny_noise(seed=seed),
            )
            for seed in (1, 2)
        ]


class _Inputs:
    """Copies of some images and labels that must come back as they were."""

    def __init__(self, who: str, scene: _Scene, numbers: list[int]) -> None:
        self.who = who
        self.images, self.mos = scene.images[numbers].clone(), scene.mos[numbers].clone()
        self.kept = self.images.clone(), self.mos.clone()
        self.noise = scene.noise.select(numbers)

    def __enter__(self) -> tuple[Tensor, Tensor, Noise]:
        return self.images, self.mos, self.noise

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            return
        for what, now, kept in zip(
            ("images", "mos"), (self.images, self.mos), self.kept, strict=True
        ):
            require(torch.equal(now, kept), self.who, f"changes its input {what} in place")
            plain = not now.requires_grad and now.grad is None
            require(plain, self.who, f"leaves requires_grad or a gradient on its input {what}")


class _Watched(RegressorWrapper):
    """Counts the images it is asked about, and answers without a gradient."""

    def __init__(self, inner: Regressor) -> None:
        super().__init__(inner)
        self.eval()
        self.asked = 0

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        self.asked += len(images)
        return self.inner.logit(images, noise).detach()
