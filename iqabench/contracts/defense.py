"""What a defense is, and what the harness asks of it in training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.contracts.backbone import Backbone
from iqabench.contracts.component import Component
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor

NETWORK = "network"
"""Name of the player that most methods have alone."""


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        images: ``(N, 3, crop, crop)`` in ``[0, 1]``, cropped and flipped already.
        mos: ``(N,)`` in ``[0, 1]``, higher is better.
        noise: All randomness of the step, one stream per image; differs from step to step.
        opinions: Shares of the answers to each image, ``(N, steps of the scale)``; None unless the
            data set has them for every image.
        spread: Standard deviation of the answers, ``(N,)``, on the scale of ``mos``; None likewise.
    """

    images: Tensor
    mos: Tensor
    noise: Noise
    opinions: Tensor | None = None
    spread: Tensor | None = None


@dataclass(frozen=True)
class TrainState:
    """Where training stands; counted by the harness, restored when training resumes.

    Attributes:
        epoch: Number of the epoch, from 0.
        step: Number of the batch since training began, from 0.
        epochs: Epochs in all.
        steps: Batches in all.
    """

    epoch: int
    step: int
    epochs: int
    steps: int


@dataclass(frozen=True)
class Player:
    """A group of parameters with an optimizer of its own.

    Attributes:
        parameters: What the player may change.
        lr_scale: Its learning rate over the recipe's.
        weight_decay: Its weight decay; None takes the recipe's.
    """

    parameters: Sequence[nn.Parameter]
    lr_scale: float = 1.0
    weight_decay: float | None = None


Step = Iterator[tuple[Tensor, str]]
TrainStep = Callable[[Batch, TrainState], Step]


@dataclass(frozen=True, kw_only=True)
class Defense(Component):
    """A way to build a regressor on a backbone and to train it."""

    trains: ClassVar[bool] = True
    """False for a finished regressor: what ``build`` returns is used as it is, with weights that
    its parameters alone decide, whatever the backbone, the data, the recipe or the seed."""

    @abstractmethod
    def build(self, backbone: Backbone) -> Regressor:
        """Return a regressor on ``backbone``; new parameters are initialised by torch's RNG.

        The harness seeds that RNG for the call and restores it afterwards.

        Raises:
            IncompatibleError: The method makes no sense on this backbone.
        """

    def players(self, regressor: Regressor) -> Mapping[str, Player]:
        """Return the groups of parameters and their names; one group with everything."""
        return {NETWORK: Player(list(regressor.parameters()))}

    def train_step(self, regressor: Regressor, batch: Batch, state: TrainState) -> Step:
        """Yield ``(loss, player)`` pairs in order; the default is MSE on the scores.

        After each pair the harness takes the gradient with respect to that player's parameters
        alone, makes one optimizer step, and only then asks for the next pair: a later loss sees the
        updated parameters. Every optimizer minimises; a player that maximises yields the negative.
        """
        yield F.mse_loss(regressor(batch.images, batch.noise), batch.mos), NETWORK


@dataclass(frozen=True, kw_only=True)
class Wrapper(Component):
    """A defense around another one: what stands left of a ``+`` in a component string.

    A test-time wrapper (purifier, smoothing) overrides ``wrap`` and shares the checkpoint of what
    it wraps. A training-time wrapper (adversarial training) sets ``changes_training``, overrides
    ``train_step``, and has a checkpoint of its own.
    """

    changes_training: ClassVar[bool] = False

    def wrap(self, regressor: Regressor) -> Regressor:
        """Return the defended regressor; the weights inside are shared."""
        return regressor

    def players(self, inner: Mapping[str, Player], regressor: Regressor) -> Mapping[str, Player]:
        """Return the groups of parameters; those of what is wrapped unless this adds some.

        Args:
            inner: The players of what is wrapped.
            regressor: What ``wrap`` returned.
        """
        return inner

    def train_step(
        self, inner: TrainStep, regressor: Regressor, batch: Batch, state: TrainState
    ) -> Step:
        """Yield the training steps.

        Args:
            inner: The training steps of what is wrapped, for a batch.
            regressor: What is wrapped, with this wrapper's ``wrap`` around it.
            batch: The batch.
            state: Where training stands.
        """
        yield from inner(batch, state)


def evaluation_mode(regressor: Regressor) -> _Evaluation:
    """Return a context in which the regressor is as under attack: eval mode, weights frozen.

    For adversarial training: ``with evaluation_mode(regressor): adversarial = ...``. Training mode
    and ``requires_grad`` are restored afterwards, module by module.
    """
    return _Evaluation(regressor)


class _Evaluation:
    def __init__(self, regressor: Regressor) -> None:
        self.regressor = regressor

    def __enter__(self) -> Regressor:
        self.training = {m: m.training for m in self.regressor.modules()}
        self.trainable = [p for p in self.regressor.parameters() if p.requires_grad]
        self.regressor.eval()
        for parameter in self.trainable:
            parameter.requires_grad_(False)
        return self.regressor

    def __exit__(self, *exc: object) -> None:
        for module, training in self.training.items():
            module.training = training
        for parameter in self.trainable:
            parameter.requires_grad_(True)
