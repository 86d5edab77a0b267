"""Attacks of other libraries, lent to a scalar score.

Those libraries attack classifiers. What of them means something for a score, and how it is asked,
is written down name by name; a name that nobody verified is refused.
"""

from __future__ import annotations

import contextlib
import random
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, ClassVar

import torch
from torch import Tensor

from iqabench.contracts.attack import AscentAttack, Passes
from iqabench.contracts.noise import Noise
from iqabench.contracts.objective import Goal
from iqabench.contracts.regressor import Regressor
from iqabench.errors import MissingExtraError, did_you_mean

Value = Callable[[Tensor], Tensor]
"""The goal of an attack as a library sees it: images ``(N, 3, H, W)`` to values ``(N,)``."""
Settings = Mapping[str, Any]


def need_extra(who: str, *, distribution: str, extra: str) -> None:
    """Raise unless an optional package is installed; nothing is imported.

    Args:
        who: What needs it, as people call it.
        distribution: Name that pip knows the package by.
        extra: The extra of iqabench that installs it.

    Raises:
        MissingExtraError: It is not installed; the message holds the command that installs it.
    """
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError as e:
        raise MissingExtraError(
            f"{who} needs {distribution}: pip install 'iqabench[{extra}]'"
        ) from e


def choose(name: str, offered: Mapping[str, Any], refused: Mapping[str, str], library: str) -> Any:
    """Return what a table offers under a name.

    Raises:
        ValueError: It is refused, for the reason in the table, or nobody verified it.
    """
    if name in offered:
        return offered[name]
    if name in refused:
        raise ValueError(f"{library}'s {name} is not offered: {refused[name]}")
    raise ValueError(
        f"{library}'s {name!r} is not verified for scalar scores.{did_you_mean(name, offered)}"
        f" Offered: {', '.join(offered)}"
    )


@contextlib.contextmanager
def lent_draws(noise: Noise, purpose: str) -> Iterator[None]:
    """Let foreign code draw from torch's global CPU generator, seeded for one image.

    The generator's state is given back afterwards, so nothing outside sees that it was used.

    Args:
        noise: Randomness of a batch with one image.
        purpose: What the numbers are for.
    """
    (stream,) = noise.generators(purpose)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed every GPU's generator as well and not restore it.
        torch.default_generator.manual_seed(int(stream.integers(2**63)))
        yield


@contextlib.contextmanager
def _kept_python_random() -> Iterator[None]:
    """Give Python's generator back as it was: what libraries import draws names from it."""
    kept = random.getstate()
    try:
        yield
    finally:
        random.setstate(kept)


@dataclass(frozen=True)
class Offer:
    """One attack of a library that was verified on a scalar.

    Attributes:
        settings: What of it can be set, with our defaults.
        random: It draws random numbers: always, never, or if the setting of that name is true.
        square: It makes images square on the way, so others are refused.
        passes: Forward and backward passes per image and radius, from its settings.
        forwards: Forward passes beside them.
    """

    settings: Settings = field(default_factory=dict)
    random: bool | str = False
    square: bool = False
    passes: Callable[[Settings], int] = lambda settings: settings.get("steps", 1)
    forwards: int = 0


@dataclass(frozen=True, kw_only=True)
class BridgedAttack(AscentAttack):
    """Base of attacks that another library carries out.

    A subclass declares the library's table and calls it in ``run``. Every optional parameter is
    ``None`` by default, which stands for the default in the table; one that the chosen attack does
    not have is refused. A random attack gets its images one by one, on the CPU, so that its draws
    depend on neither batch nor device.

    Attributes:
        name: Which attack of the library.
        objective: What it increases; see ``iqabench.contracts.objective``.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
        steps: Number of steps.
        step: Length of a step as a share of eps; 0 takes 2.5 / steps.
    """

    library: ClassVar[str]
    """What people call the library."""
    distribution: ClassVar[str]
    """What pip calls it."""
    extra: ClassVar[str]
    """The extra of iqabench that installs it."""
    offered: ClassVar[Mapping[str, Offer]]
    """What was verified, by the library's own names."""
    refused: ClassVar[Mapping[str, str]]
    """What is not offered, with the reason."""
    positional = "name"

    name: str = "PGD"
    steps: int | None = None
    step: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        offer = choose(self.name, self.offered, self.refused, self.library)
        for key, value in self._given().items():
            if key not in offer.settings:
                takes = ", ".join(["objective", "threshold", *offer.settings])
                raise ValueError(f"{self.name} has no parameter {key!r}; it takes: {takes}")
            least = 1 if type(offer.settings[key]) is int else 0
            if not isinstance(value, str) and value < least:
                raise ValueError(f"{key} must be at least {least}, got {value}")
        who = f"attack '{self.library}:{self.name}'"
        need_extra(who, distribution=self.distribution, extra=self.extra)

    @property
    def offer(self) -> Offer:
        """What the table says about the chosen attack."""
        return self.offered[self.name]

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of the chosen attack, defaults of the table filled in."""
        return {**self.offer.settings, **self._given()}

    @property
    def draws(self) -> bool:
        """Whether the chosen attack draws random numbers."""
        when = self.offer.random
        return bool(self.settings[when]) if isinstance(when, str) else when

    def step_size(self, eps: float) -> float:
        """Return the length of a step on the ``[0, 1]`` scale, never the library's default."""
        settings = self.settings
        return float(eps * (settings["step"] or 2.5 / settings.get("steps", 1)))

    @abstractmethod
    def run(self, value: Value, images: Tensor, eps: float) -> Tensor:
        """Have the library increase ``value`` in the ball around ``images``.

        Args:
            value: What to increase, for all of ``images`` at once.
            images: Clean images; of a random attack one, on the CPU.
            eps: L-infinity radius on the ``[0, 1]`` scale, above 0.
        """

    def sweep(
        self,
        regressor: Regressor,
        images: Tensor,
        mos: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """See ``Attack.sweep``.

        Raises:
            ValueError: The chosen attack makes images square, and these are not.
        """
        height, width = images.shape[2:]
        if self.offer.square and height != width:
            raise ValueError(
                f"{self.library}'s {self.name} resizes images to a square, these are"
                f" {width} x {height}"
            )
        if not self.draws:
            yield from super().sweep(regressor, images, mos, eps_list, noise)
            return
        for eps in eps_list:
            moved: list[Tensor] = []
            for number in range(len(images)):
                one, alone = slice(number, number + 1), noise.select([number])
                with lent_draws(alone, self.library):
                    moved += super().sweep(regressor, images[one], mos[one], [eps], alone)
            yield torch.cat(moved)

    def ascend(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """See ``AscentAttack.ascend``; at eps 0, which some libraries refuse, nothing moves."""

        def value(images: Tensor) -> Tensor:
            return goal(regressor, images.to(clean.device), noise).to(images.device)

        start = clean.cpu() if self.draws else clean  # the network stays where it is
        for eps in eps_list:
            if eps == 0:
                yield clean.clone()
                continue
            with torch.enable_grad(), _kept_python_random():
                moved = self.run(value, start, eps)
            yield moved.detach().to(clean.device)

    def climb_passes(self, eps_count: int) -> Passes:
        """See ``AscentAttack.climb_passes``."""
        both = self.offer.passes(self.settings)
        return Passes(eps_count * (both + self.offer.forwards), eps_count * both)

    def _given(self) -> dict[str, Any]:
        optional = (f.name for f in self.parameter_fields() if f.default is None)
        return {key: value for key in optional if (value := getattr(self, key)) is not None}
