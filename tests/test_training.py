"""Trainings and their checkpoints: found again, gone on with, and refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread

import pytest
import torch
from trainings import CPU, RECIPE, open_data, plain

from iqabench import checkpoints
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.checkpoints import Checkpoint, hash_tensors
from iqabench.data import OpenDataset
from iqabench.errors import WeightsError
from iqabench.locking import waited_for
from iqabench.progress import Silent
from iqabench.registry import Named
from iqabench.training import find_or_train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> OpenDataset:
    return open_data(tmp_path_factory.mktemp("data"))


class Killed(BaseException):
    """Stands in for SIGKILL: nothing catches it."""


def test_a_training_is_found_again_by_what_made_it(data: OpenDataset, tmp_path: Path) -> None:
    first = find_or_train(plain(data), tmp_path, CPU, Silent())
    before = (first.folder / "card.json").stat().st_mtime_ns
    assert find_or_train(plain(data), tmp_path, CPU, Silent()) == first
    assert (first.folder / "card.json").stat().st_mtime_ns == before
    card = first.card()
    assert card["description"]["recipe"]["epochs"] == 3
    assert len(card["losses"]) == 3
    assert not first.training_file.exists()


def test_who_comes_while_a_network_is_trained_waits_for_it(
    data: OpenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = find_or_train(plain(data), tmp_path / "elsewhere", CPU, Silent())
    monkeypatch.setattr("iqabench.training._Trainer.run", None)  # nothing is trained from here on
    here = plain(data).checkpoint(tmp_path)
    found: list[Checkpoint] = []
    second = Thread(
        target=lambda: found.append(find_or_train(plain(data), tmp_path, CPU, Silent()))
    )
    with waited_for(here.folder):  # as a first process does while it trains
        second.start()
        second.join(0.3)
        assert second.is_alive()
        here.take(elsewhere.files())
    second.join(60)
    assert found == [here]
    assert here.card() == elsewhere.card()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"recipe": RECIPE.model_copy(update={"lr": 2e-3})},
        {"chain": Chain.parse("resnet")},
        {"backbone": BackboneSpec("demo_net", "none", imagenet_norm=False)},
    ],
    ids=["seed", "recipe", "defense", "backbone"],
)
def test_whatever_changes_the_weights_changes_the_recipe_key(
    data: OpenDataset, tmp_path: Path, change: dict[str, object]
) -> None:
    keys = {t.checkpoint(tmp_path).recipe_key for t in (plain(data), plain(data, **change))}
    assert len(keys) == 2


@pytest.mark.parametrize("after", [1, 2])
def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(
    data: OpenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    whole = find_or_train(plain(data), tmp_path / "whole", CPU, Silent()).load()
    save_tensors = checkpoints.save_tensors
    saves = 0

    def save_then_die(*args: object, **kwargs: object) -> None:
        nonlocal saves
        save_tensors(*args, **kwargs)  # type: ignore[arg-type]
        saves += 1
        if saves == after:
            raise Killed

    monkeypatch.setattr("iqabench.training.save_tensors", save_then_die)
    with pytest.raises(Killed):
        find_or_train(plain(data), tmp_path / "killed", CPU, Silent())
    monkeypatch.undo()
    torch.rand(7)  # another process would have another global state
    resumed = find_or_train(plain(data), tmp_path / "killed", CPU, Silent())
    assert len(resumed.card()["losses"]) == 3
    for name, value in resumed.load().items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=1e-6)


def test_training_neither_reads_nor_changes_global_random_state(
    data: OpenDataset, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = find_or_train(plain(data), tmp_path / "a", CPU, Silent()).load()
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(2)
    second = find_or_train(plain(data), tmp_path / "b", CPU, Silent()).load()
    assert hash_tensors(first) == hash_tensors(second)


def test_a_built_checkpoint_is_frozen_in_eval_mode_and_gives_the_trained_scores(
    data: OpenDataset, tmp_path: Path
) -> None:
    training = plain(data)
    regressor = training.build(find_or_train(training, tmp_path, CPU, Silent()))
    assert not regressor.training
    assert not any(p.requires_grad for p in regressor.parameters())
    images, _, _ = next(data.test.batches(4))
    assert torch.equal(regressor(images), regressor(images))


def _edit_card(folder: Path) -> None:
    path = folder / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"weights_sha256": "0" * 64}))


def _truncate(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_edit_card, "not those of the card"),
        (_truncate, "is damaged"),
        (lambda folder: (folder / "card.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "card.json").write_text('{"schema": 9}'), "is damaged"),
    ],
    ids=["edited card", "truncated weights", "truncated card", "other schema"],
)
def test_a_damaged_checkpoint_is_refused(
    data: OpenDataset, tmp_path: Path, damage: object, message: str
) -> None:
    training = plain(data)
    checkpoint = find_or_train(training, tmp_path, CPU, Silent())
    damage(checkpoint.folder)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=message):
        training.build(checkpoint)


def test_long_names_do_not_cut_the_key_off(data: OpenDataset, tmp_path: Path) -> None:
    base = Chain.parse("resnet").base
    long = Named(base.component, "a-distribution-with-a-long-name/" + "x" * 60, "tests/x@1")
    folders = {
        plain(data, chain=Chain((), long), seed=s).checkpoint(tmp_path).folder for s in (0, 1)
    }
    assert len(folders) == 2


def test_a_checkpoint_of_another_training_is_refused(data: OpenDataset, tmp_path: Path) -> None:
    found = find_or_train(plain(data), tmp_path, CPU, Silent())
    other = plain(data, seed=1).checkpoint(tmp_path)
    found.folder.rename(other.folder)
    with pytest.raises(WeightsError, match=f"its card is of recipe key {found.recipe_key}"):
        find_or_train(plain(data, seed=1), tmp_path, CPU, Silent())


def test_a_damaged_training_state_is_started_over(data: OpenDataset, tmp_path: Path) -> None:
    checkpoint = plain(data).checkpoint(tmp_path)
    checkpoint.folder.mkdir(parents=True)
    checkpoint.training_file.write_bytes(b"half a file")
    find_or_train(plain(data), tmp_path, CPU, Silent())
    assert checkpoint.exists
