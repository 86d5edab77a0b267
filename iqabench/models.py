"""Trained regressors: found in the store, or trained now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from iqabench.chains import Chain
from iqabench.checkpoints import Checkpoint
from iqabench.containment import contained, shielded
from iqabench.contracts.attack import Attack
from iqabench.contracts.regressor import Expectation, Regressor
from iqabench.environment import settle
from iqabench.folding import Speed, quicken
from iqabench.planning import Entry
from iqabench.progress import Reporter
from iqabench.seeding import lent_rng, seed_torch
from iqabench.training import Training, find_or_train


@dataclass(frozen=True)
class Models:
    """Where trained regressors come from, for runs and figures alike.

    Attributes:
        store: Folder of checkpoints and pixel caches.
        device: Where networks run.
        reporter: For progress of trainings.
        attack_draws: Passes averaged when a stochastic regressor is a transfer source.
        speed: What may be done to a network to make it faster; see ``folding.quicken``.
    """

    store: Path
    device: torch.device
    reporter: Reporter
    attack_draws: int
    speed: Speed = "exact"

    def checkpoint(self, training: Training) -> Checkpoint:
        """Return the checkpoint of a training; see ``find_or_train``."""
        return find_or_train(training, self.store, self.device, self.reporter)

    def defended(self, chain: Chain, training: Training, checkpoint: Checkpoint) -> Regressor:
        """Return the whole chain around trained weights: frozen, in eval mode, on the device."""
        with contained("the defense, being built,"):
            trained = training.build(checkpoint)
            with lent_rng():
                seed_torch("wrap", training.seed)
                whole = chain.wrap_trained(trained)
        settled = settle(whole.eval().requires_grad_(False), self.device)
        with shielded():  # compiling and warming up may draw random numbers
            why = quicken(settled, self.speed, training.recipe.crop)
        if why is not None:
            self.reporter.say(f"speed {self.speed}: {chain.label}: {why}")
        return settled

    def sources(self, entry: Entry, attack: Attack) -> dict[str, tuple[str, Regressor]]:
        """Train or find the defenses that a transfer attack starts from, with their hashes."""
        found: dict[str, tuple[str, Regressor]] = {}
        for spec in attack.sources():
            chain = Chain.parse(spec)
            training = entry.sibling(chain)
            checkpoint = self.checkpoint(training)
            source = self.defended(chain, training, checkpoint)
            if source.stochastic:
                source = Expectation(source, draws=self.attack_draws)
            found[spec] = (checkpoint.card()["weights_sha256"], source)
        return found
