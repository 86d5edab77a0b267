"""A finished metric as a regressor."""

from __future__ import annotations

from torch import Tensor, nn

from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor
from iqabench.errors import CellError


class Pretrained(Regressor):
    """A metric on the score's scale: no head is squashed, so ``[0, 1]`` is nominal.

    Args:
        metric: Images ``(N, 3, H, W)`` in ``[0, 1]`` to values ``(N,)`` or ``(N, 1)``.
        worst: Value that is mapped to 0.
        best: Value that is mapped to 1; below ``worst`` where lower values are better.
    """

    def __init__(self, metric: nn.Module, worst: float, best: float) -> None:
        super().__init__()
        self.metric = metric
        self.worst, self.best = worst, best

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``; ``noise`` is unused, the metric draws nothing.

        Raises:
            CellError: The metric returned something else than a value per image.
        """
        values = self.metric(images.clone())  # whatever it does to its input stays its own
        if not isinstance(values, Tensor):
            raise CellError(f"the metric returned {type(values).__name__}, not a tensor")
        if values.numel() != len(images):
            raise CellError(
                f"the metric returned shape {tuple(values.shape)}, not ({len(images)},): a value"
                " per image"
            )
        return (values.reshape(len(images)).float() - self.worst) / (self.best - self.worst)

    def squash(self, logits: Tensor) -> Tensor:
        """See ``Regressor.squash``; the metric's own value is the score."""
        return logits
