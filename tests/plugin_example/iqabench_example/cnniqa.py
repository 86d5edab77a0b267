"""A metric that comes trained: CNNIQA, as an ordinary module that knows nothing of iqabench."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

PATCH = 32
GRAY = (0.299, 0.587, 0.114)
"""ITU-R BT.601: what Pillow's mode L weighs red, green and blue with."""


class CNNIQA(nn.Module):
    """One convolution on gray patches, max and min pooling, two hidden layers (Kang et al. 2014).

    The layers carry the names of the weights that Dingquan Li published (github.com/lidq92/CNNIQA),
    so the file loads as it is. A score is the mean over patches; trained on LIVE it is a DMOS,
    about 0 for perfect to 100, lower is better.

    Deviations from the published script, both so that there is a gradient and every pixel counts:
    gray values are not rounded to whole numbers, and the last row and column of patches are scored
    too. Dropout is off, as for any network in eval mode.

    Shape:
        ``(N, 3, H, W)``, RGB in ``[0, 1]``, H and W at least 32, to ``(N,)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 50, 7)
        self.fc1 = nn.Linear(100, 800)
        self.fc2 = nn.Linear(800, 800)
        self.fc3 = nn.Linear(800, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return one score per image."""
        patches = normalised(patches_of(gray(images)))
        maps = self.conv1(patches)
        pooled = torch.cat([maps.amax((2, 3)), maps.amin((2, 3))], dim=1)
        scores: Tensor = self.fc3(F.relu(self.fc2(F.relu(self.fc1(pooled)))))
        return scores.view(len(images), -1).mean(dim=1)


def gray(images: Tensor) -> Tensor:
    """Return the luma of ``(N, 3, H, W)`` as ``(N, 1, H, W)``."""
    weights = images.new_tensor(GRAY).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def patches_of(images: Tensor) -> Tensor:
    """Cut ``(N, 1, H, W)`` into whole patches side by side, ``(N * P, 1, 32, 32)``."""
    cut = images.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
    return cut.reshape(-1, 1, PATCH, PATCH)


def normalised(patches: Tensor) -> Tensor:
    """Subtract each pixel's 3 x 3 mean and divide by 1 + its 3 x 3 standard deviation.

    On the ``[0, 1]`` scale, as the published weights expect. Outside a patch its edge goes on.
    """
    wide = F.pad(patches, (1, 1, 1, 1), mode="replicate")
    mean = F.avg_pool2d(wide, 3, stride=1)
    variance = F.avg_pool2d(wide.square(), 3, stride=1) - mean.square()
    # A flat patch has variance 0, where the root has no slope: there the slope is taken as 0.
    flat = variance <= 1e-12
    deviation = torch.where(flat, 0.0, torch.where(flat, 1.0, variance).sqrt())
    return (patches - mean) / (1 + deviation)
