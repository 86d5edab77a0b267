"""Attacks lent by torchattacks and ART: parity with the native ones, tables, parameters, errors.

The native attacks keep the best iterate and the libraries return the last; on a linear score they
are the same. ``test_oracles.py`` explains where float32 lets the libraries differ: at nearly black
pixels, by less than 1e-7.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from support import Linear, grid_images, noise_for
from torch import Tensor

from iqabench import budget
from iqabench.api import BridgedAttack, Noise, Regressor, RegressorWrapper
from iqabench.attacks.art_bridge import ARTBridge
from iqabench.attacks.torchattacks_bridge import TorchattacksBridge
from iqabench.cli import main
from iqabench.counting import Counted, Tally
from iqabench.errors import MissingExtraError, ParamError
from iqabench.planning import attack
from iqabench.registry import ATTACKS
from iqabench.testing import SmoothRegressor, check_attack, frozen, tiny_images, tiny_mos
from iqabench.testing.rules import one_thread, scrambled, untouched

BRIDGES: tuple[type[BridgedAttack], ...] = (TorchattacksBridge, ARTBridge)
RADII = (1 / 255, 4 / 255, 8 / 255)
MOS = torch.tensor([0.9, 0.1, 0.7, 0.5])
LEVELS = [0, 0, 0, 1, 3, 6, 9, 20, 128, 246, 249, 252, 254, 255, 255, 255]
EDGES = torch.from_numpy(np.random.default_rng(1).choice(LEVELS, (4, 3, 6, 6))).float() / 255
IMAGES = (grid_images(4, 6), EDGES)


class OnScale(RegressorWrapper):
    """A score without a squashed head, as a metric on 0 to 1 or on 0 to 100 gives it."""

    def __init__(self, inner: Regressor, scale: float, offset: float) -> None:
        super().__init__(inner)
        self.scale = scale
        self.offset = offset

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return self.scale * self.inner.logit(images, noise) + self.offset

    def squash(self, logits: Tensor) -> Tensor:
        return logits


SCALES = {"0-1": OnScale(Linear(6), 1, 0.6), "0-100": OnScale(Linear(6), 100, 60)}
STEPS = "steps=4,step=0.4"
PARITY = [
    ("fgsm", "torchattacks:FGSM"),
    ("fgsm", "art:FastGradientMethod"),
    (f"pgd:{STEPS}", f"torchattacks:PGD,random_start=false,{STEPS}"),
    (f"pgd:{STEPS}", f"torchattacks:BIM,{STEPS}"),
    (f"pgd:{STEPS}", f"torchattacks:UPGD,decay=0,{STEPS}"),
    (f"pgd:{STEPS}", f"art:ProjectedGradientDescent,{STEPS}"),
    (f"pgd:{STEPS}", f"art:BasicIterativeMethod,{STEPS}"),
    ("mifgsm", "torchattacks:MIFGSM,step=0.1"),
    ("mifgsm", "art:MomentumIterativeMethod,step=0.1"),
]


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with one_thread():
        yield


def perturbed(text: str, regressor: Regressor, clean: Tensor, eps: float) -> Tensor:
    ready = attack(text).component
    moved = ready.perturb(frozen(regressor), clean, MOS[: len(clean)], eps, noise_for(clean))
    return budget.check(clean, moved, eps=eps)


def with_objective(text: str, objective: str) -> str:
    return f"{text}{',' if ':' in text else ':'}objective={objective}"


@pytest.mark.parametrize("objective", ["raise", "lower", "reflect", "mse"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("native", "bridged"), PARITY)
def test_a_native_attack_equals_the_bridged_one(
    native: str, bridged: str, scale: str, objective: str
) -> None:
    if native.partition(":")[0] not in ATTACKS.names():
        pytest.skip(f"no attack {native!r} yet")
    for clean, eps in product(IMAGES, RADII):
        ours, theirs = (
            perturbed(with_objective(text, objective), SCALES[scale], clean, eps)
            for text in (native, bridged)
        )
        off = (ours - theirs).abs()
        nearly_black = (clean > 0) & (clean < 3 * eps)
        assert not off[~nearly_black].any()
        assert (off <= 1e-7).all()
        assert (ours - clean).abs().max() > 0.9 * eps


@pytest.mark.parametrize(
    "bridged", ["torchattacks:FGSM", "torchattacks:APGD", "art:FastGradientMethod"]
)
@pytest.mark.parametrize("objective", ["raise", "lower"])
def test_a_score_far_from_zero_still_moves(bridged: str, objective: str) -> None:
    regressor = OnScale(Linear(6), 1, 1000.0)
    clean = IMAGES[0]
    moved = perturbed(f"{bridged},objective={objective}", regressor, clean, RADII[1])
    change = regressor.inner.logit(moved) - regressor.inner.logit(clean)
    optimum = RADII[1] * Linear(6).weight.abs().sum() * (1 if objective == "raise" else -1)
    torch.testing.assert_close(change, optimum.expand(4), rtol=0.02, atol=0)


def every(*, square: bool) -> list[BridgedAttack]:
    """Every attack that a bridge offers, with few steps."""
    made = []
    for bridge in BRIDGES:
        for name, offer in bridge.offered.items():
            few: dict[str, Any] = {"steps": 2, "N": 1, "m": 2}
            few = {k: v for k, v in few.items() if k in offer.settings}
            if offer.square == square:
                made.append(bridge(name=name, **few))
    return made


def marked(ready: BridgedAttack) -> Any:
    few = {"FGSM", "MIFGSM", "VMIFGSM", "APGD", "MomentumIterativeMethod"}
    marks = [] if ready.name in few else [pytest.mark.slow]  # the defaults are checked elsewhere
    return pytest.param(ready, marks=marks, id=f"{ready.library}-{ready.name}")


@pytest.mark.parametrize("ready", [marked(ready) for ready in every(square=False)])
def test_whatever_is_offered_keeps_the_contract(ready: BridgedAttack) -> None:
    check_attack(ready)


@pytest.mark.parametrize("ready", every(square=True), ids=lambda a: str(a.name))
def test_what_needs_square_images_keeps_the_contract_on_them(ready: BridgedAttack) -> None:
    regressor, clean, mos = frozen(SmoothRegressor()), tiny_images(4, 16, 16), tiny_mos(4)
    noise = noise_for(clean)
    with untouched("it", "perturb", regressor):
        together = ready.perturb(regressor, clean, mos, RADII[1], noise)
    budget.check(clean, together, eps=RADII[1])
    with scrambled(1):
        again = ready.perturb(regressor, clean, mos, RADII[1], noise)
    assert torch.equal(together, again)
    alone = ready.perturb(regressor, clean[2:3], mos[2:3], RADII[1], noise.select([2]))
    assert torch.equal(alone[0], together[2])
    assert torch.equal(ready.perturb(regressor, clean, mos, 0.0, noise), clean)
    with pytest.raises(ValueError, match="resizes images to a square, these are 14 x 9"):
        ready.perturb(regressor, tiny_images(4, 9, 14), mos, RADII[1], noise)


@pytest.mark.parametrize(
    "ready", every(square=False) + every(square=True), ids=lambda a: f"{a.library}-{a.name}"
)
def test_the_estimate_of_passes_is_what_is_made(ready: BridgedAttack) -> None:
    tally, clean = Tally(), tiny_images(2)
    counted = frozen(Counted(SmoothRegressor(), tally))
    ready.perturb(counted, clean, tiny_mos(2), RADII[1], noise_for(clean))
    estimate = ready.passes(1)
    assert estimate is not None
    assert tally.backwards == 2 * estimate.backwards
    assert tally.forwards == 2 * estimate.forwards
    both = replace(ready, objective="both").passes(1)
    assert both is not None
    assert both.backwards == 2 * estimate.backwards


def test_draws_come_from_the_noise_alone() -> None:
    clean, regressor = tiny_images(3), frozen(SmoothRegressor())
    ready = attack("torchattacks:PGD,steps=1").component

    def moved(seed: int) -> Tensor:
        return ready.perturb(regressor, clean, tiny_mos(3), RADII[2], noise_for(clean, seed))

    assert torch.equal(moved(0), moved(0))
    assert not torch.equal(moved(0), moved(1))


def test_what_a_library_draws_from_pythons_generator_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(self: object, value: object, images: Tensor, eps: float) -> Tensor:
        return images + eps * random.random()

    monkeypatch.setattr(ARTBridge, "run", run)
    before = random.getstate()
    perturbed("art:FastGradientMethod", SCALES["0-1"], IMAGES[0], RADII[0])
    assert random.getstate() == before


@pytest.mark.parametrize("text", ["torchattacks:BIM", "art:BasicIterativeMethod"])
def test_steps_are_shares_of_eps(text: str) -> None:
    clean = IMAGES[0]
    for step, share in (("step=0.5", 0.5), ("step=0.125", 0.125), ("step=0", 1.0)):
        moved = perturbed(f"{text},steps=1,{step}", SCALES["0-1"], clean, RADII[2])
        assert (moved - clean).abs().max().item() == pytest.approx(share * RADII[2], rel=1e-4)


def test_the_canonical_form_holds_what_was_given() -> None:
    named = attack("torchattacks:MIFGSM,decay=0.5,objective=reflect")
    assert named.label == "torchattacks:MIFGSM,decay=0.5,objective=reflect"
    assert "N=none" in named.canonical
    assert "decay=0.5" in named.canonical
    settings = TorchattacksBridge(name="VMIFGSM", N=3).settings
    assert settings == {"steps": 10, "step": 0.25, "decay": 1.0, "N": 3, "beta": 1.5}


REFUSALS = [
    ("torchattacks:CW", "CW is not offered: it looks for the nearest class boundary"),
    ("torchattacks:AutoAttack", "AutoAttack is not offered: it needs four classes"),
    ("art:HopSkipJump", "HopSkipJump is not offered: it needs a classifier"),
    ("art:PGD", "'PGD' is not verified for scalar scores"),
    ("torchattacks:MIFGSN", "not verified for scalar scores. Did you mean 'MIFGSM'?"),
    ("torchattacks:FGSM,decay=1", "FGSM has no parameter 'decay'; it takes: objective, threshold"),
    ("torchattacks:MIFGSM,decai=1", "has no parameter 'decai'; it takes: .* Did you mean 'decay'?"),
    ("torchattacks:MIFGSM,decay=much", "decay=much: "),
    ("torchattacks:TIFGSM,kernel_name=box", "kernel_name=box: "),
    ("torchattacks:PGD,steps=0", "steps must be at least 1, got 0"),
    ("art:BasicIterativeMethod,step=-1", "step must be at least 0, got -1"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSALS)
def test_what_means_nothing_for_a_score_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(ParamError, match=f"^attack '{text.partition(':')[0]}'.*{reason}") as caught:
        attack(text)
    assert "\n" not in str(caught.value)


def test_every_attack_of_torchattacks_is_offered_or_refused() -> None:
    library = pytest.importorskip("torchattacks")
    table = [*TorchattacksBridge.offered, *TorchattacksBridge.refused]
    assert sorted(table) == sorted(library.__all__)


def test_every_name_in_the_table_of_art_is_one_of_its_attacks() -> None:
    evasion = pytest.importorskip("art.attacks.evasion")
    assert not [n for n in {**ARTBridge.offered, **ARTBridge.refused} if not hasattr(evasion, n)]


def test_art_refuses_a_regressor_where_the_table_says_so() -> None:
    evasion = pytest.importorskip("art.attacks.evasion")
    module = pytest.importorskip("art.estimators.regression.pytorch")
    estimator = module.PyTorchRegressor(
        torch.nn.Flatten(), loss=torch.nn.MSELoss(), input_shape=(3, 6, 6), device_type="cpu"
    )
    for name, reason in ARTBridge.refused.items():
        if "needs a classifier" in reason:
            requirements = getattr(evasion, name)._estimator_requirements
            assert not evasion.FastGradientMethod.is_estimator_valid(estimator, requirements), name


@pytest.fixture
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither library is installed."""
    version = metadata.version

    def installed(name: str) -> str:
        if name in {bridge.distribution for bridge in BRIDGES}:
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", installed)
    for module in ("torchattacks", "art", "art.attacks"):
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.usefixtures("_bare")
def test_a_missing_extra_is_told_with_the_command_that_installs_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(MissingExtraError) as caught:
        attack("art:FastGradientMethod")
    assert str(caught.value) == (
        "attack 'art:FastGradientMethod' needs adversarial-robustness-toolbox:"
        " pip install 'iqabench[art]'"
    )
    assert main(["run", "--attack", "torchattacks:FGSM", "--dataset", "demo", "--dry-run"]) == 2
    line = "iqabench: attack 'torchattacks:FGSM' needs torchattacks: pip install"
    assert capsys.readouterr().err.startswith(f"{line} 'iqabench[torchattacks]'")


@pytest.mark.usefixtures("_bare")
def test_a_missing_extra_hides_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert "lent to scores" in capsys.readouterr().out
    assert main(["show", "torchattacks"]) == 0
    assert "share of eps" in capsys.readouterr().out
    with pytest.raises(ParamError, match="CW is not offered"):
        attack("torchattacks:CW")
