"""How visible an attack is, by learned metrics: columns that a run adds if it is asked to."""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from iqabench.contracts.weights import first_line, no_pickles
from iqabench.errors import WeightsError
from iqabench.seeding import lent_rng

Apart = Callable[[Tensor, Tensor], Tensor]
"""From clean and attacked images, ``(N, 3, H, W)`` in ``[0, 1]``, to distances ``(N,)``."""


class _LPIPS(nn.Module):
    """LPIPS on AlexNet (Zhang et al. 2018), of torchmetrics."""

    def __init__(self) -> None:
        super().__init__()
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        self.metric = LearnedPerceptualImagePatchSimilarity(
            "alex", reduction="none", normalize=True
        )

    def forward(self, clean: Tensor, attacked: Tensor) -> Tensor:
        found: Tensor = self.metric(attacked, clean)
        self.metric.reset()
        return found.reshape(-1)


class _DISTS(nn.Module):
    """DISTS on VGG-16 (Ding et al. 2022), of torchmetrics."""

    def __init__(self) -> None:
        super().__init__()
        from torchmetrics.functional.image.dists import DISTSNetwork

        self.network = DISTSNetwork()

    def forward(self, clean: Tensor, attacked: Tensor) -> Tensor:
        found: Tensor = self.network(attacked, clean)
        return found.reshape(-1)


METRICS: Mapping[str, Callable[[], nn.Module]] = {"lpips": _LPIPS, "dists": _DISTS}
"""By column name; both are 0 for an image that did not move."""


class Visibility:
    """Learned distances between clean and attacked images.

    Args:
        names: Some of ``METRICS``.
        device: Where they run.

    Raises:
        WeightsError: The ImageNet weights under them are not here and cannot be had.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self.metrics: dict[str, nn.Module] = {}
        for name in names:
            try:
                # torchvision says on standard output what it downloads.
                with no_pickles(), lent_rng(), contextlib.redirect_stdout(sys.stderr):
                    metric = METRICS[name]()
            except (OSError, RuntimeError, pickle.UnpicklingError) as e:
                raise WeightsError(
                    f"visibility {name}: torchvision's weights under it are not on this machine and"
                    f" could not be downloaded ({first_line(e)}); leave it out, or put them there"
                ) from e
            self.metrics[name] = metric.eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def __call__(self, clean: Tensor, attacked: Tensor) -> dict[str, Tensor]:
        """Return ``(N,)`` on the CPU for each metric."""
        return {name: metric(clean, attacked).cpu() for name, metric in self.metrics.items()}
