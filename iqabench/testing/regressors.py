"""What every regressor has to keep, whoever built it."""

from __future__ import annotations

import torch
from torch import Tensor

from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor
from iqabench.testing.fixtures import frozen, tiny_images, tiny_noise
from iqabench.testing.rules import asking, one_thread, require, scrambled, untouched

SIZE = 32
_CLOSE = 1e-5
"""Share of the logits' size that a convolution may round differently in another batch."""
_ORDER = (2, 0, 3, 1)


@one_thread()
def check_regressor(regressor: Regressor, *, who: str = "", size: int = SIZE) -> None:
    """Check a regressor in eval mode with frozen weights, as it is scored and attacked.

    Args:
        regressor: What to check; it is put into eval mode and frozen.
        who: Name for messages; its class's without one.
        size: Side of the square images it is asked about.

    Raises:
        BrokenRuleError: It breaks a rule; the message says which.
    """
    __tracebackhide__ = True
    who = who or type(regressor).__name__
    require(isinstance(regressor, Regressor), who, "gives no Regressor")
    probe = _Probe(who, frozen(regressor), size)
    scores, logits = probe.ask(probe.noise)
    probe.check_values(scores, logits)
    probe.check_noise(logits)
    probe.check_batches(logits)
    probe.check_gradients()


class _Probe:
    """One regressor and some images."""

    def __init__(self, who: str, regressor: Regressor, size: int) -> None:
        self.who = who
        self.regressor = regressor
        self.images = tiny_images(8, size, size)[[0, 1, 5, 6]]
        self.noise = tiny_noise(len(self.images))

    @torch.no_grad()
    def ask(self, noise: Noise | None, images: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return scores and logits of some images, after the rules of a single pass."""
        given = self.images if images is None else images
        kept = given.clone()
        found: list[Tensor] = []
        for name, call in (("forward", self.regressor), ("logit", self.regressor.logit)):
            what = f"{name} in eval mode"
            with untouched(self.who, what, self.regressor), asking(self.who, what):
                values = call(given, noise)
            require(torch.equal(given, kept), self.who, f"changes its input images in {name}")
            shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            fits = shape == (len(given),)
            require(fits, self.who, f"returns {shape} from {name}, not ({len(given)},)")
            typed = values.dtype == torch.float32
            require(typed, self.who, f"returns {values.dtype} from {name}, not torch.float32")
            finite = bool(values.isfinite().all())
            require(finite, self.who, f"returns NaN or infinity from {name}")
            found.append(values)
        return found[0], found[1]

    @torch.no_grad()
    def check_values(self, scores: Tensor, logits: Tensor) -> None:
        """A score is the squashed logit, and lies in [0, 1] unless nothing is squashed."""
        with asking(self.who, "squash"):
            squashed = self.regressor.squash(logits)
        same = torch.allclose(scores, squashed, rtol=0, atol=_CLOSE)
        require(same, self.who, "has a forward that is not squash(logit)")
        probe = torch.linspace(-6, 6, 49)
        with asking(self.who, "squash"):
            curve = self.regressor.squash(probe.to(logits.device)).cpu()
        rises = bool((curve.diff() >= 0).all()) and bool(curve[-1] > curve[0])
        require(rises, self.who, "has a squash that is not monotone: higher logits, higher scores")
        inside = bool(((curve >= 0) & (curve <= 1)).all())
        require(
            torch.equal(curve, probe) or inside,
            self.who,
            f"squashes into [{float(curve.min()):.3g}, {float(curve.max()):.3g}], not [0, 1]",
        )

    def check_noise(self, logits: Tensor) -> None:
        """All randomness comes from noise, and is there just if ``stochastic`` says so."""
        for seed in (1, 2):
            with scrambled(seed):
                _, again = self.ask(self.noise)
            same = torch.equal(logits, again)
            require(same, self.who, "gives another score when it is asked again with equal noise")
        _, other = self.ask(self.noise.for_draw(1))
        differs = not torch.equal(logits, other)
        if not self.regressor.stochastic:
            require(not differs, self.who, "depends on noise but does not say it is stochastic")
            _, without = self.ask(None)
            same = torch.equal(logits, without)
            require(same, self.who, "is not stochastic but scores differently without noise")
            return
        require(differs, self.who, "is stochastic but gives the same scores for every draw")
        for name, call in (("forward", self.regressor), ("logit", self.regressor.logit)):
            refuses = False
            try:
                with untouched(self.who, f"{name} without noise", self.regressor):
                    call(self.images, None)
            except ValueError:
                refuses = True
            require(
                refuses, self.who, f"is stochastic and raises no ValueError without noise in {name}"
            )

    def check_batches(self, logits: Tensor) -> None:
        """An image's score depends on that image, and its noise, alone."""
        _, shuffled = self.ask(self.noise.select(_ORDER), self.images[list(_ORDER)])
        for place, number in enumerate(_ORDER):
            self._compare(logits[number], shuffled[place], "in another order of the batch")
        for number in range(len(self.images)):
            chosen = slice(number, number + 1)
            _, alone = self.ask(self.noise.select([number]), self.images[chosen])
            self._compare(logits[number], alone[0], "alone")

    def check_gradients(self) -> None:
        """Pixels have a gradient, the regressor's own or a surrogate's."""
        with asking(self.who, "surrogates"):
            surrogates = self.regressor.surrogates()
        own = {id(p) for p in self.regressor.parameters()}
        for name, surrogate in surrogates.items():
            require(isinstance(surrogate, Regressor), self.who, f"has {name!r}, no Regressor")
            shares = all(id(p) in own for p in surrogate.parameters())
            require(shares, self.who, f"has the surrogate {name!r} that does not share its weights")
            reason = self._missing_gradient(surrogate, f"the surrogate {name!r}")
            require(not reason, self.who, f"has the surrogate {name!r} that {reason}")
        reason = self._missing_gradient(self.regressor, "logit")
        require(
            not reason or bool(surrogates),
            self.who,
            f"{reason} with respect to the pixels, and offers no surrogates() in its place",
        )

    def _missing_gradient(self, regressor: Regressor, what: str) -> str:
        pixels = self.images.clone().requires_grad_()
        gradient: Tensor | None = None
        with untouched(self.who, what, regressor), asking(self.who, what):
            logits = regressor.logit(pixels, self.noise)
            fits = logits.shape == (len(pixels),)
            require(fits, self.who, f"returns {tuple(logits.shape)} from {what}")
            if logits.requires_grad:
                (gradient,) = torch.autograd.grad(logits.sum(), pixels, allow_unused=True)
        if gradient is None:
            return "gives no gradient"
        if not bool(gradient.isfinite().all()):
            return "gives a gradient of NaN or infinity"
        return "" if bool((gradient != 0).any()) else "gives a gradient of zero everywhere"

    def _compare(self, together: Tensor, other: Tensor, how: str) -> None:
        allowed = _CLOSE * max(1.0, float(together.abs()))
        require(
            float((together - other).abs()) <= allowed,
            self.who,
            f"scores an image differently {how}: in eval mode a score depends on its image alone",
        )
