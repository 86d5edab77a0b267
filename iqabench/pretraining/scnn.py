"""S-CNN, which names the type and the level of a synthetic distortion, and its training."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.optim import SGD

from iqabench.api import IMAGENET_MEAN, IMAGENET_STD, SCNN_CHANNELS, Noise, scnn_features
from iqabench.environment import environment, settle
from iqabench.errors import CellError, ConfigError
from iqabench.pixels import VERSION as PIXELS_VERSION
from iqabench.pixels import Pixels, open_pixels
from iqabench.pretraining.distortions import DISTORTIONS, GRADES, need_codecs
from iqabench.pretraining.distortions import VERSION as DISTORTIONS_VERSION
from iqabench.pretraining.output import Output
from iqabench.pretraining.sources import Sources
from iqabench.progress import Counter, Reporter
from iqabench.seeding import exact_kernels, lent_rng, seed_torch

VERSION = 1
"""Raise it when the same request would train other weights."""
WIDTH = 256
"""Of the two layers between the pooled features and the classes."""
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
SIDES = (32, 4096)
"""Pixels that ``crop`` and ``resize`` may have; of fewer, batch norm would see one position."""
LEAST_BATCH = 4
"""So that no batch, when they are made alike in size, is a single image."""


class SCNN(nn.Module):
    """The convolutions of DBCNN's second branch and the head they are trained with.

    Global average pooling, two layers of ``WIDTH`` with batch norm and ReLU, one linear layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = scnn_features()
        layers: list[nn.Module] = []
        for before in (SCNN_CHANNELS, WIDTH):
            layers += [nn.Linear(before, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()]
        self.projection = nn.Sequential(*layers)
        self.classifier = nn.Linear(WIDTH, len(GRADES))
        for module in (*self.features, *self.projection):
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)  # of the layers before a ReLU
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return a logit for each class, ``(N, 39)``, of images ``(N, 3, H, W)`` in ``[0, 1]``."""
        features = self.features((images - self.mean) / self.std)
        logits: Tensor = self.classifier(self.projection(features.mean((2, 3))))
        return logits


@dataclass(frozen=True)
class Settings:
    """The numbers of a pre-training.

    Attributes:
        epochs: Passes over every pair of image and class.
        resize: Length of the shorter side, in pixels, of the images that are distorted.
        crop: Side of the square, in pixels, that the network sees of them.
        batch_size: Images per step, at most.
        lr: Learning rate of the first epoch.
        final_lr: Learning rate of the last one; between them it falls by a constant factor.
        seed: Seed of everything that is drawn, also of which images are held out.
    """

    epochs: int
    resize: int
    crop: int
    batch_size: int
    lr: float
    final_lr: float
    seed: int

    def check(self) -> None:
        """Raise unless all of them make sense.

        Raises:
            ConfigError: One does not, or they do not fit together.
        """
        low, high = SIDES
        for name in ("resize", "crop"):
            if not low <= (side := getattr(self, name)) <= high:
                raise ConfigError(f"--{name} {side}: give {low} to {high} pixels")
        if self.crop > self.resize:
            raise ConfigError(
                f"--crop {self.crop} is larger than --resize {self.resize}; give a smaller crop"
            )
        for name, least in (("epochs", 1), ("batch_size", LEAST_BATCH), ("seed", 0)):
            if (number := getattr(self, name)) < least:
                raise ConfigError(f"--{name.replace('_', '-')} {number}: give at least {least}")
        if not 0 < self.final_lr <= self.lr < math.inf:
            raise ConfigError(
                f"--lr {self.lr:g} and --final-lr {self.final_lr:g}: give a rate above 0 and a"
                " final one that is not higher"
            )

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        share = epoch / max(1, self.epochs - 1)
        return float(self.lr * (self.final_lr / self.lr) ** share)


@dataclass(frozen=True)
class Pretraining:
    """Everything that decides which weights come out.

    Attributes:
        settings: Its numbers.
        sources: Its photographs.
    """

    settings: Settings
    sources: Sources

    def description(self) -> dict[str, Any]:
        """Return it as plain JSON; with the same description an unfinished training goes on."""
        return {
            "version": VERSION,
            "distortions": DISTORTIONS_VERSION,
            "decoding": PIXELS_VERSION,
            "images": len(self.sources.train) + len(self.sources.held_out),
            "sources_sha256": self.sources.sha256,
            **asdict(self.settings),
        }


def pretrain(
    request: Pretraining, output: Output, store: Path, device: torch.device, reporter: Reporter
) -> dict[str, Any]:
    """Train, measure on the images held out, write the weights, and return what is said of them.

    An unfinished training of the same request goes on after its last whole epoch, and ends with
    the bytes that an uninterrupted one has. The last weights count: the measurement chooses none.

    Raises:
        CellError: The loss is not finite.
        DataError: Images cannot be decoded; all of them are named.
        MissingExtraError: Pillow cannot compress.
        OutputError: The file cannot be written, or another process is writing it.
    """
    need_codecs()
    sources = (*request.sources.train, *request.sources.held_out)
    pixels = open_pixels(
        [s.path for s in sources],
        [s.sha256 for s in sources],
        resize=request.settings.resize,
        store=store,
        on_progress=reporter.counter(f"decoding {len(sources)} images"),
    )
    with output.locked(), lent_rng(device), exact_kernels():
        if (about := output.finished()) is not None:  # by a process that had the lock until now
            return about
        return _Trainer(request, pixels, device, reporter).run(output)


@dataclass(frozen=True)
class _View:
    """One square of one distorted photograph.

    Attributes:
        number: Of the photograph.
        grade: Number of the class.
        noise: What a distortion draws from.
        place: Where the square is, down and across, as shares of the room there is.
        mirrored: Whether left and right change places.
    """

    number: int
    grade: int
    noise: Noise
    place: tuple[float, float] = (0.5, 0.5)
    mirrored: bool = False


class _Trainer:
    """One pre-training."""

    def __init__(
        self, request: Pretraining, pixels: Pixels, device: torch.device, reporter: Reporter
    ) -> None:
        self.settings = request.settings
        self.train = request.sources.train
        self.held_out = request.sources.held_out
        self.pixels = pixels
        self.device = device
        self.reporter = reporter
        seed_torch("scnn", self.settings.seed)
        self.network = settle(SCNN(), device)
        self.optimizer = SGD(
            self.network.parameters(),
            lr=self.settings.lr,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
        )
        count = len(self.train) * len(GRADES)
        self.steps_per_epoch = math.ceil(count / self.settings.batch_size)

    def run(self, output: Output) -> dict[str, Any]:
        """Train to the end, measure, and save."""
        losses = self._resume(output)
        progress = self.reporter.counter(f"pre-training S-CNN on {len(self.train)} images")
        for epoch in range(len(losses), self.settings.epochs):
            losses.append(self._epoch(epoch, progress))
            output.save_part(self._state(), {"losses": losses})
        about = {
            "trained_on": len(self.train),
            "losses": losses,
            "held_out": self._measure(),
            "classes": [grade.label for grade in GRADES],
            "environment": environment(self.device),
        }
        return output.save(self.network.state_dict(), about)

    def _epoch(self, epoch: int, progress: Counter) -> float:
        """Show every photograph in every class once; return the mean loss."""
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate(epoch)
        total, seen = 0.0, 0
        for index, (images, grades) in enumerate(self._batches(self._views(epoch))):
            loss = F.cross_entropy(self.network(images), grades)
            if not math.isfinite(value := float(loss.detach())):
                raise CellError(
                    f"pre-training S-CNN diverged: the loss is {value} in epoch {epoch + 1}, step"
                    f" {index + 1}; give a lower --lr"
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # of torch
            self.optimizer.step()
            total += value * len(images)
            seen += len(images)
            progress(
                epoch * self.steps_per_epoch + index + 1,
                self.settings.epochs * self.steps_per_epoch,
            )
        return total / seen

    def _views(self, epoch: int) -> Iterator[list[_View]]:
        """Yield the views of each step of an epoch; steps differ by one image at most."""
        seed = self.settings.seed
        count = len(self.train) * len(GRADES)
        order = np.random.default_rng([seed, epoch, 0]).permutation(count)
        draws = np.random.default_rng([seed, epoch, 1]).random((count, 3))
        for items in np.array_split(order, self.steps_per_epoch):
            views = []
            for item in items.tolist():
                number, grade = divmod(item, len(GRADES))
                noise = Noise(seed, (self.train[number].name,), epoch, "train")
                down, across, side = draws[item].tolist()
                views.append(_View(number, grade, noise, (down, across), side < 0.5))
            yield views

    def _measure(self) -> dict[str, Any]:
        """Return the accuracy on the photographs held out, in the middle, each class once."""
        self.network.eval()
        cases = [
            _View(len(self.train) + number, grade, Noise(self.settings.seed, (s.name,), 0, "test"))
            for number, s in enumerate(self.held_out)
            for grade in range(len(GRADES))
        ]
        size = self.settings.batch_size
        parts = [cases[start : start + size] for start in range(0, len(cases), size)]
        progress = self.reporter.counter(f"measuring on {len(self.held_out)} images")
        found: list[int] = []
        with torch.no_grad():
            for images, _ in self._batches(parts):
                found += self.network(images).argmax(1).tolist()
                progress(len(found), len(cases))
        pairs = [(GRADES[view.grade], GRADES[f]) for view, f in zip(cases, found, strict=True)]
        kinds = [(true.kind, said.kind) for true, said in pairs]
        return {
            "images": len(self.held_out),
            "distorted_images": len(cases),
            "class_accuracy": _share([true == said for true, said in pairs]),
            "type_accuracy": _share([true == said for true, said in kinds]),
            "type_accuracy_of": {
                distortion.name: _share([said == kind for true, said in kinds if true == kind])
                for kind, distortion in enumerate(DISTORTIONS)
            },
        }

    def _batches(self, steps: Iterable[Sequence[_View]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and class numbers; the next ones are distorted while some are used."""
        waiting: deque[tuple[Iterator[np.ndarray], Sequence[_View]]] = deque()
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for views in steps:
                waiting.append((pool.map(self._square, views), views))
                if len(waiting) > 1:
                    yield self._stacked(*waiting.popleft())
            while waiting:
                yield self._stacked(*waiting.popleft())

    def _square(self, view: _View) -> np.ndarray:
        grade, crop = GRADES[view.grade], self.settings.crop
        (generator,) = view.noise.generators(grade.label)
        image = grade.distort(self.pixels.image(view.number), generator)
        h, w = image.shape[:2]
        top, left = int(view.place[0] * (h - crop + 1)), int(view.place[1] * (w - crop + 1))
        square = image[top : top + crop, left : left + crop]
        return square[:, ::-1] if view.mirrored else square

    def _stacked(
        self, squares: Iterable[np.ndarray], views: Sequence[_View]
    ) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(np.stack(list(squares))).permute(0, 3, 1, 2).to(self.device)
        grades = torch.tensor([view.grade for view in views], device=self.device)
        return images.float() / 255, grades

    def _state(self) -> dict[str, Tensor]:
        state = {f"model/{k}": v for k, v in self.network.state_dict().items()}
        for index, entries in self.optimizer.state_dict()["state"].items():
            state[f"momentum/{index}"] = entries["momentum_buffer"]
        return state

    def _resume(self, output: Output) -> list[float]:
        """Restore the last saved state; return the losses of the epochs that are done."""
        saved = output.unfinished(self.reporter)
        if saved is None:
            return []
        tensors, about = saved
        of = {
            part: {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
            for part in ("model/", "momentum/")
        }
        self.network.load_state_dict(of["model/"])
        state = self.optimizer.state_dict()
        state["state"] = {int(k): {"momentum_buffer": v} for k, v in of["momentum/"].items()}
        self.optimizer.load_state_dict(state)
        losses: list[float] = about["losses"]
        self.reporter.say(f"going on after epoch {len(losses)} of {self.settings.epochs}")
        return losses


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)
