"""No-reference metrics of pyiqa (Chen et al.; https://github.com/chaofengc/IQA-PyTorch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from iqabench.api import Backbone, Defense, Player, Pretrained, Regressor, choose, need_extra


@dataclass(frozen=True)
class Range:
    """What a metric's values mean.

    Attributes:
        low: Value that is mapped to 0.
        high: Value that is mapped to 1.
    """

    low: float
    high: float


OFFERED = {
    "cnniqa": Range(0, 1),
    "dbcnn": Range(0, 1),
    "hyperiqa": Range(0, 1),
    "maniqa": Range(0, 1),
    "musiq": Range(0, 100),
    "nima": Range(0, 10),
    "paq2piq": Range(0, 100),
    "topiq_nr": Range(0, 1),
}
"""What pyiqa says of their ranges; all of them are better when higher."""

_NO_BACKWARD = "it has no gradient (its card: no backward), so a white-box attack climbs nothing"
_SETS = "it compares sets of images"
_REFERENCE = "it needs a reference image"
REFUSED = {
    **dict.fromkeys(
        ("brisque", "brisque_matlab", "ilniqe", "niqe", "niqe_matlab", "nrqm", "pi", "piqe"),
        _NO_BACKWARD,
    ),
    "entropy": "a histogram has no gradient",
    "liqe": "it was seen to score an image by its batch (issue 178 of pyiqa)",
    **dict.fromkeys(("fid", "inception_score", "sfid"), _SETS),
    **dict.fromkeys(("ahiq", "dists", "fsim", "lpips", "ms_ssim", "psnr", "ssim"), _REFERENCE),
}


@dataclass(frozen=True, kw_only=True)
class PyIQA(Defense):
    """A metric of pyiqa with its published weights, used as it is.

    It is not trained: backbone, recipe and seed change nothing, and labels of another data set than
    it was trained on are what it is measured against. A fixed linear map puts its values on
    ``[0, 1]``. Its weights are downloaded by pyiqa on first use and kept with our checkpoints.
    pyiqa's own licence is not free for commercial use. ``docs/bridges.md`` says what is offered,
    why the rest is not, and what was never run.

    Attributes:
        metric: Its name in pyiqa.
    """

    summary = "a pretrained metric of pyiqa, used as it is (non-commercial; docs/bridges.md)"
    paper = "https://arxiv.org/abs/2208.14818"
    year = 2022
    positional = "metric"
    trains = False

    metric: str = "dbcnn"

    def __post_init__(self) -> None:
        choose(self.metric, OFFERED, REFUSED, "pyiqa")
        need_extra(f"defense 'pyiqa:{self.metric}'", distribution="pyiqa", extra="pyiqa")

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``; the backbone is not used."""
        import pyiqa

        metric: Any = pyiqa.create_metric(
            self.metric,
            as_loss=True,  # or it would switch gradients off
            loss_reduction="none",
            device=torch.device("cpu"),
        )
        scale = OFFERED[self.metric]
        return Pretrained(metric, scale.low, scale.high)

    def players(self, regressor: Regressor) -> dict[str, Player]:
        """Return none: nothing is trained."""
        return {}
