"""Trained weights as safetensors beside a JSON card, found again by the recipe that made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from iqabench.errors import OutputError, WeightsError
from iqabench.files import json_text, replacing, write_bytes, write_json, write_text

SCHEMA = 1
FILES = ("weights.safetensors", "card.json")
"""Of a checkpoint; the card is written last."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder that holds, or will hold, one trained regressor.

    Attributes:
        folder: ``card.json`` and ``weights.safetensors``; while training, ``training.safetensors``.
        recipe_key: Hash of everything that made it.
    """

    folder: Path
    recipe_key: str

    @property
    def exists(self) -> bool:
        """Whether training has finished; the card is written last."""
        return (self.folder / "card.json").exists()

    def card(self) -> dict[str, Any]:
        """Return the card.

        Raises:
            WeightsError: Damaged, of another schema, or of another training.
        """
        try:
            card: dict[str, Any] = json.loads((self.folder / "card.json").read_text())
            known = card["schema"] == SCHEMA and card["weights_sha256"]
            made_by = card["recipe_key"]
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise WeightsError(self._damaged(e)) from e
        if not known:
            raise WeightsError(self._damaged("another schema"))
        if made_by != self.recipe_key:
            raise WeightsError(self._damaged(f"its card is of recipe key {made_by}"))
        return card

    def load(self) -> dict[str, Tensor]:
        """Return the weights.

        Raises:
            WeightsError: Damaged, or not the weights that the card describes.
        """
        card = self.card()
        try:
            weights = load_file(self.folder / "weights.safetensors")
        except (OSError, safetensors.SafetensorError) as e:
            raise WeightsError(self._damaged(e)) from e
        if hash_tensors(weights) != card["weights_sha256"]:
            raise WeightsError(self._damaged("the weights are not those of the card"))
        return weights

    def save(self, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
        """Write weights and card, and drop the training state."""
        save_tensors(self.folder / "weights.safetensors", weights)
        document = {"schema": SCHEMA, "weights_sha256": hash_tensors(weights), **card}
        write_json(self.folder / "card.json", document)
        self.training_file.unlink(missing_ok=True)

    def files(self) -> dict[str, bytes]:
        """Return weights and card as they lie here, for another store.

        Raises:
            WeightsError: One cannot be read.
        """
        try:
            return {name: (self.folder / name).read_bytes() for name in FILES}
        except OSError as e:
            raise WeightsError(self._damaged(e)) from e

    def take(self, files: Mapping[str, bytes]) -> None:
        """Write what ``files`` gave elsewhere; nothing if it is here already.

        Raises:
            WeightsError: Weights that were trained otherwise are here.
            OutputError: The folder cannot be written.
        """
        if not self.exists:
            for name in FILES:
                write_bytes(self.folder / name, files[name])
            self.training_file.unlink(missing_ok=True)
        elif self.card()["weights_sha256"] != json.loads(files["card.json"])["weights_sha256"]:
            raise WeightsError(
                f"checkpoint {self.folder} holds other weights than another machine of this run has"
                " for the same training; remove one of them"
            )

    def keep_card(self, run: Path) -> None:
        """Write a copy of the card to ``run/cards``, for pages made without the store.

        Raises:
            WeightsError: There is no card, or a damaged one.
            OutputError: The folder cannot be written.
        """
        path, text = run / "cards" / f"{self.recipe_key}.json", json_text(self.card())
        if not path.is_file() or path.read_bytes() != text.encode():
            write_text(path, text)

    @property
    def training_file(self) -> Path:
        """Where an unfinished training keeps its state."""
        return self.folder / "training.safetensors"

    def _damaged(self, why: object) -> str:
        return f"checkpoint {self.folder} is damaged ({why}): remove it to train again"


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a safetensors file in one step.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(plain, temporary, metadata=dict(metadata or {}))
        except safetensors.SafetensorError as e:  # what the system said, as safetensors says it
            raise OutputError(f"cannot write {path}: {e}") from e


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Return tensors and metadata, or None if there is no readable file."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118 - no mapping
    except (OSError, safetensors.SafetensorError):
        return None


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and values, whatever the container."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
