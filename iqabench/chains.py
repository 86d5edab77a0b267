"""A defense as the user wrote it: a base with wrappers around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iqabench.contracts.backbone import Backbone
from iqabench.contracts.defense import Batch, Defense, Player, Step, TrainState, TrainStep, Wrapper
from iqabench.contracts.regressor import Regressor
from iqabench.errors import IncompatibleError
from iqabench.registry import DEFENSES, Named
from iqabench.specs import parse


@dataclass(frozen=True)
class Chain:
    """``wrapper + wrapper + base``.

    Attributes:
        wrappers: Outermost first, as written.
        base: What builds the regressor.
    """

    wrappers: tuple[Named[Wrapper], ...]
    base: Named[Defense]

    @classmethod
    def parse(cls, text: str) -> Chain:
        """Return the chain that a component string describes.

        Raises:
            IncompatibleError: The last part wraps something, an earlier one wraps nothing, or it
                changes the training of a base that is not trained.
        """
        named = [DEFENSES.create(part) for part in parse(text)]
        *outer, last = named
        if not isinstance(last.component, Defense):
            raise IncompatibleError(
                f"defense {text!r}: {last.name!r} wraps another defense; write {last.name}+resnet"
            )
        for part in outer:
            if not isinstance(part.component, Wrapper):
                raise IncompatibleError(
                    f"defense {text!r}: {part.name!r} wraps nothing, so it must be the last part"
                )
            if part.component.changes_training and not last.component.trains:
                raise IncompatibleError(
                    f"defense {text!r}: {part.name!r} changes training, and {last.name!r} is not"
                    " trained"
                )
        return cls(tuple(outer), last)  # type: ignore[arg-type]  # checked one by one above

    @property
    def parts(self) -> tuple[Named[Wrapper] | Named[Defense], ...]:
        """Every part, outermost first."""
        return (*self.wrappers, self.base)

    @property
    def canonical(self) -> str:
        """The spec with every default filled in; this is what is hashed."""
        return "+".join(part.canonical for part in self.parts)

    @property
    def label(self) -> str:
        """The spec with only what differs from the defaults; this is what people read."""
        return "+".join(part.label for part in self.parts)

    @property
    def identities(self) -> list[str]:
        """Distribution, name and version of every part."""
        return [part.identity for part in self.parts]

    @property
    def trains(self) -> bool:
        """Whether its weights come from training; else from what the base builds."""
        return self.base.component.trains

    @property
    def trained(self) -> Chain:
        """The part of the chain that makes a checkpoint of its own.

        From the outermost wrapper that changes training on; the wrappers before it share it.
        """
        for number, part in enumerate(self.wrappers):
            if part.component.changes_training:
                return Chain(self.wrappers[number:], self.base)
        return Chain((), self.base)

    def build(self, backbone: Backbone) -> Regressor:
        """Return the whole regressor on ``backbone``."""
        return self.levels(backbone)[-1]

    def levels(self, backbone: Backbone) -> list[Regressor]:
        """Return the base's regressor, then it with one wrapper more at a time."""
        levels = [self.base.component.build(backbone)]
        for part in reversed(self.wrappers):
            levels.append(part.component.wrap(levels[-1]))
        return levels

    def wrap_trained(self, regressor: Regressor) -> Regressor:
        """Return the regressor of ``trained`` with the wrappers that share its checkpoint."""
        shared = self.wrappers[: len(self.wrappers) - len(self.trained.wrappers)]
        for part in reversed(shared):
            regressor = part.component.wrap(regressor)
        return regressor

    def players(self, levels: list[Regressor]) -> Mapping[str, Player]:
        """Return the base's players, with those that wrappers add."""
        players = self.base.component.players(levels[0])
        for part, regressor in zip(reversed(self.wrappers), levels[1:], strict=True):
            players = part.component.players(players, regressor)
        return players

    def train_step(self, levels: list[Regressor], batch: Batch, state: TrainState) -> Step:
        """Yield the training steps of the outermost part, which asks those inside it."""
        return self._step(levels, len(self.wrappers))(batch, state)

    def _step(self, levels: list[Regressor], level: int) -> TrainStep:
        regressor = levels[level]
        if level == 0:
            base = self.base.component
            return lambda batch, state: base.train_step(regressor, batch, state)
        wrapper = self.wrappers[-level].component
        inner = self._step(levels, level - 1)
        return lambda batch, state: wrapper.train_step(inner, regressor, batch, state)
