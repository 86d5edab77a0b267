"""Training, owned by the harness: batches, steps, schedule, resuming, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.checkpoints import Checkpoint, load_tensors, save_tensors
from iqabench.containment import contained
from iqabench.contracts.defense import Batch, Player, TrainState
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor
from iqabench.data import OpenDataset
from iqabench.environment import environment, settle
from iqabench.errors import CellError, IqabenchError, WeightsError
from iqabench.files import file_name, hash_of
from iqabench.locking import waited_for
from iqabench.progress import Reporter
from iqabench.recipes import Recipe
from iqabench.seeding import exact_kernels, lent_rng, seed_torch
from iqabench.sides import Side

VERSION = 1
"""Raise it when the same recipe would train other weights."""


@dataclass(frozen=True)
class Training:
    """Everything that decides which weights come out.

    Attributes:
        chain: The part of a defense that has a checkpoint of its own.
        backbone: Backbone and its starting weights.
        recipe: Numbers of the training.
        data: Data set; its training side is used.
        seed: Seed of initialisation, order, crops and flips.
    """

    chain: Chain
    backbone: BackboneSpec
    recipe: Recipe
    data: OpenDataset
    seed: int

    def description(self) -> dict[str, Any]:
        """Return what the recipe key is the hash of: everything that decides the weights."""
        made_by: dict[str, Any] = {
            "version": VERSION,
            "defense": {"spec": self.chain.canonical, "components": self.chain.identities},
        }
        if not self.chain.trains:
            return made_by
        return made_by | {
            "backbone": self.backbone.provenance(),
            "recipe": self.recipe.description(),
            "data": {
                "identity": self.data.named.identity,
                "fingerprint": self.data.train.fingerprint,
            },
            "seed": self.seed,
        }

    def checkpoint(self, store: Path) -> Checkpoint:
        """Return where the weights are, or will be."""
        key = hash_of(self.description())[:16]
        shown = f"{self.data.named.name}-{self.chain.base.name}-{self.backbone.name}"
        if not self.chain.trains:
            shown = self.chain.base.name
        return Checkpoint(store / "checkpoints" / f"{file_name(shown)}-{key}", key)

    def build(self, checkpoint: Checkpoint) -> Regressor:
        """Return the trained regressor, in eval mode with frozen weights, on the CPU."""
        with lent_rng():
            seed_torch("build", self.seed)
            regressor = self.chain.build(self.backbone.build(with_weights=False))
        weights = checkpoint.load()
        try:
            regressor.load_state_dict(weights)
        except RuntimeError as e:
            raise WeightsError(
                f"checkpoint {checkpoint.folder} does not fit {self.chain.label}: did the method"
                " change without a new version? Remove the folder to train again"
            ) from e
        return regressor.eval().requires_grad_(False)


def find_or_train(
    training: Training, store: Path, device: torch.device, reporter: Reporter
) -> Checkpoint:
    """Return the checkpoint of a training, training it if there is none.

    Another process that trains the same one is waited for. An unfinished training goes on where it
    was last saved, and ends with the weights that an uninterrupted one has.

    Raises:
        CellError: The loss is not finite, or the method raised.
        OutputError: The store cannot be written.
    """
    checkpoint = training.checkpoint(store)
    if checkpoint.exists:
        checkpoint.card()
        return checkpoint
    with waited_for(checkpoint.folder):
        if not checkpoint.exists:
            try:
                with contained("the defense, being built,"):
                    trainer = _Trainer(training, checkpoint, device, reporter)
                trainer.run()
            except IqabenchError:
                raise
            except Exception as e:  # a plugin may raise anything
                why = f"{type(e).__name__}: {e}"
                raise CellError(f"training {training.chain.label} failed: {why}") from e
    return checkpoint


def install(checkpoint: Checkpoint, files: Mapping[str, bytes]) -> None:
    """Put a checkpoint of another machine into the store, unless it holds the same weights already.

    Args:
        checkpoint: Its place in this store.
        files: What ``Checkpoint.files`` gave there.

    Raises:
        WeightsError: Other weights of the same recipe key are there.
        OutputError: The store cannot be written.
    """
    with waited_for(checkpoint.folder):
        checkpoint.take(files)


class _Trainer:
    """One training run."""

    def __init__(
        self, training: Training, checkpoint: Checkpoint, device: torch.device, reporter: Reporter
    ) -> None:
        self.training = training
        self.recipe = training.recipe
        self.checkpoint = checkpoint
        self.device = device
        self.reporter = reporter
        self.side: Side = training.data.train
        self.batch_size = min(self.recipe.batch_size, len(self.side))
        self.steps_per_epoch = len(self.side) // self.batch_size
        self.steps = self.recipe.epochs * self.steps_per_epoch
        trains = training.chain.trains
        self.epochs = self.recipe.epochs if trains else 0
        with lent_rng():
            seed_torch("build", training.seed)
            backbone = training.backbone.build(with_weights=trains)
            # Before a method changes it: what a method puts in is trained.
            self.frozen = list(backbone.modules()) if self.recipe.frozen_backbone else []
            for module in self.frozen:
                module.requires_grad_(False)
            self.levels = training.chain.levels(backbone)
        self.regressor = settle(self.levels[-1], device)
        self.players = training.chain.players(self.levels) if trains else {}
        self.optimizers = {
            name: self._optimizer(player)
            for name, player in self.players.items()
            if any(p.requires_grad for p in player.parameters)
        }

    def run(self) -> None:
        """Train to the end, if there is anything to train, and save the checkpoint."""
        first, seconds, losses = self._resume()
        label = f"training {self.training.chain.label} on {self.training.data.name}"
        progress = self.reporter.counter(label)
        began = time.monotonic()
        with exact_kernels():
            for epoch in range(first, self.epochs):
                # Looked at before anything of the epoch is saved; torch's generator may be used.
                with contained("the defense"), lent_rng(self.device):
                    losses.append(self._epoch(epoch, progress))
                spent = seconds + time.monotonic() - began
                if epoch + 1 < self.epochs:
                    self._save_state(epoch + 1, spent, losses)
        self.regressor.eval()
        card = {
            "recipe_key": self.checkpoint.recipe_key,
            "description": self.training.description(),
            "images": len(self.side) if self.epochs else 0,
            "epochs": self.epochs,
            "losses": losses,
            "seconds": round(seconds + time.monotonic() - began, 1),
            "environment": environment(self.device),
        }
        self.checkpoint.save(self.regressor.state_dict(), card)

    def _epoch(self, epoch: int, progress: Any) -> float:
        self.regressor.train()
        for module in self.frozen:
            module.training = False
        seed = self.training.seed
        order = np.random.default_rng([seed, epoch, 0]).permutation(len(self.side))
        crops = np.random.default_rng([seed, epoch, 1]).random((len(self.side), 3))
        total, count = 0.0, 0
        for index in range(self.steps_per_epoch):
            step = epoch * self.steps_per_epoch + index
            state = TrainState(epoch, step, self.recipe.epochs, self.steps)
            numbers = order[index * self.batch_size : (index + 1) * self.batch_size].tolist()
            seed_torch("step", seed, step)
            total += self._step(self._batch(numbers, crops[numbers], step), state)
            count += 1
            progress(step + 1, self.steps)
        return total / count

    def _batch(self, numbers: list[int], draws: np.ndarray, step: int) -> Batch:
        crop = self.recipe.crop
        shapes = [self.side.pixels.shapes[i] for i in numbers]
        corners = [
            (int(top * (h - crop + 1)), int(left * (w - crop + 1)))
            for (h, w), (top, left, _) in zip(shapes, draws, strict=True)
        ]
        images = self.side.pixels.crops(numbers, crop, corners)
        if self.recipe.flip:
            mirrored = torch.from_numpy(draws[:, 2] < 0.5)
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        noise = Noise(
            self.training.seed, tuple(self.side.image_ids[i] for i in numbers), step, "train"
        )
        labels = (self.side.mos, self.side.opinions, self.side.spread)
        mos, opinions, spread = (t if t is None else t[numbers].to(self.device) for t in labels)
        assert mos is not None
        return Batch(images.to(self.device), mos, noise, opinions, spread)

    def _step(self, batch: Batch, state: TrainState) -> float:
        """Make one optimizer step for each pair that the defense yields; return the first loss."""
        rate = self.recipe.learning_rate(state.step, state.steps)
        losses: list[float] = []
        pairs = self.training.chain.train_step(self.levels, batch, state)
        while True:
            with self._mixed_precision():
                pair = next(pairs, None)
            if pair is None:
                return losses[0] if losses else math.nan
            loss, name = pair
            if name not in self.players:
                raise CellError(
                    f"{self.training.chain.label} yielded a loss for the player {name!r}; its"
                    f" players are {', '.join(self.players)}"
                )
            if not math.isfinite(value := float(loss.detach())):
                raise CellError(
                    f"training {self.training.chain.label} diverged: the loss of player {name!r} is"
                    f" {value} in epoch {state.epoch + 1}, step {state.step}; lower the recipe's lr"
                )
            losses.append(value)
            self._improve(name, loss, rate)

    def _improve(self, name: str, loss: Tensor, rate: float) -> None:
        player, optimizer = self.players[name], self.optimizers.get(name)
        if optimizer is None:  # all of it is frozen
            return
        parameters = [p for p in player.parameters if p.requires_grad]
        # With respect to this player alone, so that another player's weights stay bit-identical.
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        for group in optimizer.param_groups:
            group["lr"] = rate * player.lr_scale
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _optimizer(self, player: Player) -> AdamW:
        decay = self.recipe.weight_decay if player.weight_decay is None else player.weight_decay
        parameters = [p for p in player.parameters if p.requires_grad]
        return AdamW(parameters, lr=self.recipe.lr, weight_decay=decay)

    def _mixed_precision(self) -> torch.autocast:
        on = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=on)

    def _save_state(self, epoch: int, seconds: float, losses: list[float]) -> None:
        tensors = {f"model/{k}": v for k, v in self.regressor.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for index, entries in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{name}/{index}/{k}": v for k, v in entries.items()}
        metadata = {
            "recipe_key": self.checkpoint.recipe_key,
            "epoch": str(epoch),
            "seconds": str(seconds),
            "losses": ",".join(map(repr, losses)),
        }
        save_tensors(self.checkpoint.training_file, tensors, metadata)

    def _resume(self) -> tuple[int, float, list[float]]:
        """Restore the last saved state; return the epoch to go on with, seconds and losses."""
        saved = load_tensors(self.checkpoint.training_file)
        if saved is None or saved[1].get("recipe_key") != self.checkpoint.recipe_key:
            return 0, 0.0, []
        tensors, metadata = saved
        prefix = "model/"
        self.regressor.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
        for name, optimizer in self.optimizers.items():
            state = optimizer.state_dict()
            state["state"] = _optimizer_state(tensors, f"optimizer/{name}/")
            optimizer.load_state_dict(state)
        epoch = int(metadata["epoch"])
        self.reporter.say(f"resuming the training at epoch {epoch + 1} of {self.recipe.epochs}")
        return epoch, float(metadata["seconds"]), [float(x) for x in metadata["losses"].split(",")]


def _optimizer_state(tensors: Mapping[str, Tensor], prefix: str) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            index, name = key.removeprefix(prefix).split("/")
            state.setdefault(int(index), {})[name] = value
    return state
