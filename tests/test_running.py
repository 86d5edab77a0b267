from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from support import Workplace
from torch import Tensor, nn

from iqabench.api import (
    Attack,
    AttackBatch,
    Backbone,
    Defense,
    Facts,
    Noise,
    ObjectiveAttack,
    Regressor,
    global_average,
    pixel_gradient,
    project,
    single_steps,
    state,
)
from iqabench.chains import Chain
from iqabench.config import load_benchmark
from iqabench.contracts.attack import Access
from iqabench.data import DataHome
from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.tables import remarks
from iqabench.planning import Entry, Plan, make_plan
from iqabench.progress import Silent
from iqabench.registry import Named
from iqabench.results import CellRecord, Columns, find_cells, read_cell, read_columns
from iqabench.running import Runner, Summary, locked, prepare
from iqabench.training import Training

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


def plan_of(place: Workplace, attacks: Sequence[Attack] = (), **flags: object) -> Plan:
    benchmark = load_benchmark(place.config, flags)
    home = DataHome(place.data, place.store, Silent())
    plan = make_plan(benchmark, ["biq2021"], home, split=None)
    if attacks:
        found = (Named(a, type(a).__name__.lower(), f"tests/{type(a).__name__}@1") for a in attacks)
        plan = dataclasses.replace(plan, attacks=tuple(found))
    return plan


def with_defense(plan: Plan, component: Defense) -> Plan:
    name = type(component).__name__.lower()
    chain = Chain((), Named(component, name, f"tests/{name}@1"))
    [entry] = plan.entries
    training = dataclasses.replace(entry.training, chain=chain)
    own = Entry(entry.data, chain, training, entry.recipe_name, reference=False)
    return dataclasses.replace(plan, entries=(entry, own))


def execute(place: Workplace, plan: Plan, run: Path) -> Summary:
    run.mkdir(parents=True, exist_ok=True)
    return Runner(run, place.store, CPU, Silent()).execute(plan)


def cells(run: Path) -> dict[tuple[str, str, float], tuple[CellRecord, Columns]]:
    found: dict[tuple[str, str, float], tuple[CellRecord, Columns]] = {}
    for path in find_cells(run):
        record = read_cell(path)
        columns = read_columns(path, record) if record.status == "done" else {}
        about = record.about
        found[about["defense"], about["attack"], record.cell["eps_255"]] = (record, columns)
    return found


def test_a_plan_becomes_one_file_per_cell_and_is_found_again(
    place: Workplace, tmp_path: Path
) -> None:
    plan = plan_of(place, eps=[0.5, 1])
    first = execute(place, plan, tmp_path)
    assert (first.computed, first.found, first.failures) == (5, 0, [])
    stamps = {p: p.stat().st_mtime_ns for p in find_cells(tmp_path)}
    assert len(stamps) == len(list(plan.cells())) == 5
    (card,) = (tmp_path / "cards").iterdir()
    (checkpoint,) = place.store.glob(f"checkpoints/*-{card.stem}")
    assert card.read_bytes() == (checkpoint / "card.json").read_bytes()
    again = execute(place, plan, tmp_path)
    assert (again.computed, again.found) == (0, 5)
    assert {p: p.stat().st_mtime_ns for p in find_cells(tmp_path)} == stamps


def test_a_cell_found_again_says_what_is_true_now(place: Workplace, tmp_path: Path) -> None:
    execute(place, plan_of(place, eps=[1], reference=None), tmp_path)
    assert not any(record.about["reference"] for record, _ in cells(tmp_path).values())
    again = execute(place, plan_of(place, eps=[1]), tmp_path)
    assert (again.computed, again.found) == (0, 3)
    assert all(record.about["reference"] for record, _ in cells(tmp_path).values())


def test_a_failure_is_forgotten_by_the_plan_that_tries_it_again_and_by_no_other(
    place: Workplace, tmp_path: Path
) -> None:
    """Where training failed the key lacks the weights, so success would not replace the record."""
    failing = with_defense(plan_of(place, eps=[1]), Faulty(how="build"))
    execute(place, failing, tmp_path)

    def failed() -> list[CellRecord]:
        return [r for r, _ in cells(tmp_path).values() if r.status == "failed"]

    assert len(failed()) == 3
    other = dataclasses.replace(
        failing, entries=tuple(dataclasses.replace(e, recipe_name="x") for e in failing.entries)
    )
    prepare(tmp_path, other, Silent())
    assert len(failed()) == 3
    prepare(tmp_path, failing, Silent())
    assert failed() == []


def test_the_batch_size_changes_no_number_and_no_key(place: Workplace, tmp_path: Path) -> None:
    execute(place, plan_of(place, batch_size=12), tmp_path / "a")
    execute(place, plan_of(place, batch_size=5), tmp_path / "b")
    a, b = cells(tmp_path / "a"), cells(tmp_path / "b")
    assert a.keys() == b.keys()
    for what, (record, columns) in a.items():
        assert record.key == b[what][0].key
        assert columns["logit"] == pytest.approx(b[what][1]["logit"], abs=1e-4)


def test_columns_hold_what_the_design_promises(place: Workplace, tmp_path: Path) -> None:
    execute(place, plan_of(place, eps=[0.5, 2]), tmp_path)
    found = cells(tmp_path)
    for eps in (0.5, 2.0):
        record, columns = found["resnet", "fgsm", eps]
        assert len(columns["image_id"]) == 12
        assert max(columns["linf_255"]) == pytest.approx(eps, abs=1e-3)
        assert columns["clean_score"] == found["resnet", "clean", 0.0][1]["score"]
        assert all(0 < s < 1 for s in columns["ssim"])
        assert all(30 < p < 70 for p in columns["psnr"])
        assert record.distance is not None
        assert record.distance["linf_255_max"] == pytest.approx(eps, abs=1e-3)
        fractional = eps == 0.5
        assert (record.metrics_8bit is None) == fractional
        for name in ("score_8bit", "linf_8bit_255"):
            assert all((value is None) == fractional for value in columns[name])
        assert "36 of its 12000 images" in " ".join(remarks(load_board(tmp_path).groups[0]))
    assert found["resnet", "clean", 0.0][1]["psnr"] == [None] * 12  # infinite


def test_one_gradient_serves_a_whole_fgsm_sweep(place: Workplace, tmp_path: Path) -> None:
    attack = Chainless.fgsm()
    execute(place, plan_of(place, [attack], eps=[1, 2, 4, 8]), tmp_path)
    costs = [r.cost for (_, name, _), (r, _) in cells(tmp_path).items() if name != "clean"]
    for cost in costs:
        assert cost is not None
        assert (cost["forwards"], cost["backwards"]) == (1, 1)
        assert cost["eps_255_together"] == [1.0, 2.0, 4.0, 8.0]


class Chainless:
    """Built-in attacks without going through strings."""

    @staticmethod
    def fgsm() -> Attack:
        from iqabench.planning import attack

        return attack("fgsm").component


@dataclass(frozen=True, kw_only=True)
class Broken(Attack):
    """Breaks one rule at one radius."""

    summary = "broken"
    how: str = "raise"

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        if eps * 255 < 1.5:
            return images.clone()
        moved = {
            "ball": (images + 2 * eps).clamp(0, 1),
            "range": images + eps,
            "nan": images * torch.nan,
            "shape": images[:, :1],
            "none": None,
        }
        if self.how == "raise":
            raise RuntimeError("two\nlines")
        if self.how == "place":
            images -= eps / 2
            return images
        return moved[self.how]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "RuntimeError: two lines"),
        ("ball", "more than eps = 2/255"),
        ("range", "outside [0, 1]"),
        ("nan", "NaN"),
        ("shape", "attack returned (12, 1, 32, 32)"),
        ("none", "NoneType, not a tensor"),
        ("place", "in place"),
    ],
)
def test_a_cell_that_breaks_a_rule_fails_alone(
    place: Workplace, tmp_path: Path, how: str, message: str
) -> None:
    plan = plan_of(place, [Broken(how=how), Chainless.fgsm()], eps=[1, 2])
    summary = execute(place, plan, tmp_path)
    [line] = summary.failures
    assert message in line
    assert "\n" not in line
    assert "broken:how=" in line or how == "raise"
    found = cells(tmp_path)
    failed = [record for record, _ in found.values() if record.status == "failed"]
    assert [r.cell["eps_255"] for r in failed] == [2.0]
    assert summary.computed == 4
    again = execute(place, plan, tmp_path)  # failed cells are tried again, the others found
    assert (again.computed, again.found, len(again.failures)) == (0, 4, 1)


@dataclass(frozen=True, kw_only=True)
class Eager(Attack):
    """Does all its work when it is called, on the images themselves."""

    summary = "eager"

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        return images.clone()

    def sweep(
        self,
        regressor: Regressor,
        images: Tensor,
        mos: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        images.mul_(0.5)
        return iter([images.clone() for _ in eps_list])


def test_images_changed_in_place_by_a_sweep_that_is_not_lazy_are_noticed(
    place: Workplace, tmp_path: Path
) -> None:
    summary = execute(place, plan_of(place, [Eager()], eps=[1]), tmp_path)
    assert "changed its input images in place" in summary.failures[0]


@dataclass(frozen=True, kw_only=True)
class Restless(Attack):
    """Moves even at eps 0."""

    summary = "restless"

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        return project(images + 1 / 255, images, max(eps, 1 / 255))


def test_an_attack_that_moves_at_eps_0_fails_its_self_check(
    place: Workplace, tmp_path: Path
) -> None:
    summary = execute(place, plan_of(place, [Restless()], eps=[1]), tmp_path)
    assert "more than eps = 0/255" in summary.failures[0]


@dataclass(frozen=True, kw_only=True)
class Universal(Attack):
    """One perturbation for all images, fitted on training images."""

    summary = "universal"
    needs_fit: ClassVar[bool] = True
    delta: Tensor | None = state()

    def fit(
        self, regressor: Regressor, batches: Iterable[AttackBatch], eps: float, noise: Noise
    ) -> Universal:
        assert noise.uniform("start", (2,)).shape == (1, 2)
        assert len(list(batches)) == len(list(batches)) == 2  # as often as it asks
        total, seen = torch.zeros(()), 0
        for batch in batches:
            seen += len(batch.images)
            _, gradient = pixel_gradient(
                lambda model, x, n: model.logit(x, n), regressor, batch.images, batch.noise
            )
            total = total + gradient.sum(0)
        assert seen == 24
        return self.with_state(delta=total.sign() * eps)

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        assert self.delta is not None
        return project(images + self.delta, images, eps)


def test_an_attack_that_needs_a_fit_is_fitted_on_training_images_for_each_radius(
    place: Workplace, tmp_path: Path
) -> None:
    summary = execute(place, plan_of(place, [Universal()], eps=[1, 4]), tmp_path)
    assert summary.failures == []
    found = cells(tmp_path)
    for eps in (1.0, 4.0):
        assert max(found["resnet", "universal", eps][1]["linf_255"]) == pytest.approx(eps, abs=1e-3)


@dataclass(frozen=True, kw_only=True)
class Transfer(ObjectiveAttack):
    """One step on the gradient of another defense."""

    summary = "transfer"
    access: ClassVar[Access] = "transfer"
    source: str = "resnet:pool=max"

    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        assert self.facts is not None
        source = self.facts.sources[self.source]
        goal = self.goal(source, images, mos, noise)
        return next(single_steps(goal, source, images, [eps], noise))


def test_the_source_of_a_transfer_attack_is_trained_and_is_part_of_the_key(
    place: Workplace, tmp_path: Path
) -> None:
    plan = plan_of(place, [Transfer(objective="raise")], eps=[1])
    assert execute(place, plan, tmp_path).failures == []
    record, _ = cells(tmp_path)["resnet", "transfer:objective=raise", 1.0]
    sources = record.cell["attack"]["sources"]
    assert list(sources) == ["resnet:pool=max"]
    assert sources["resnet:pool=max"] != record.cell["defense"]["weights_sha256"]
    assert record.cost is not None
    assert record.cost["forwards"] == 0  # the attacked model itself was never asked


class Noisy(Regressor):
    stochastic = True

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.out_channels, 1)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        if noise is None:
            raise ValueError("needs noise")
        offset = noise.normal("offset", (), like=images)
        out: Tensor = self.head(global_average(self.backbone(images))).squeeze(1) + 0.1 * offset
        return out


@dataclass(frozen=True, kw_only=True)
class Jitter(Defense):
    """Adds noise to its logit."""

    summary = "noisy logit"

    def build(self, backbone: Backbone) -> Regressor:
        return Noisy(backbone)


def test_a_stochastic_defense_is_scored_and_attacked_over_draws(
    place: Workplace, tmp_path: Path
) -> None:
    plan = with_defense(plan_of(place, eps=[1], score_draws=3, attack_draws=4), Jitter())
    assert execute(place, plan, tmp_path).failures == []
    found = cells(tmp_path)
    record, columns = found["jitter", "fgsm", 1.0]
    draws = [columns[f"score_{d}"] for d in range(3)]
    assert "score_3" not in columns
    assert len({tuple(d) for d in draws}) == 3
    means = [sum(values) / 3 for values in zip(*draws, strict=True)]
    assert columns["score"] == pytest.approx(means)
    assert record.cell["score_draws"] == 3
    assert record.cell["attack"]["draws"] == 4
    assert record.cell["attack"]["routes"] == ["own", "expectation"]
    assert record.cost is not None
    # One draw, four in expectation, and four for each of the two to choose the better one.
    assert (record.cost["forwards"], record.cost["backwards"]) == (1 + 4 + 2 * 4, 1 + 4)
    plain, _ = found["resnet", "fgsm", 1.0]
    assert (plain.cell["score_draws"], plain.cell["attack"]["draws"]) == (1, None)
    again = execute(place, plan, tmp_path)
    assert again.computed == 0


@dataclass(frozen=True, kw_only=True)
class Faulty(Jitter):
    """Fails in a way of choice."""

    how: str = "build"
    when: ClassVar[str] = ""

    def build(self, backbone: Backbone) -> Regressor:
        if self.how == "build":
            raise RuntimeError("no such layer")
        regressor = Misbehaved(backbone)
        regressor.how = self.how
        return regressor


class Misbehaved(Noisy):
    stochastic = False
    how = ""

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        out: Tensor = self.head(global_average(self.backbone(images)))
        if self.training:
            return out.squeeze(1)
        return out * torch.nan if self.how == "nan" else out


@pytest.mark.parametrize(
    ("how", "message"),
    [("build", "no such layer"), ("shape", "returned shape (12, 1)"), ("nan", "shape (12, 1)")],
)
def test_a_defense_that_fails_takes_its_own_cells_with_it_and_no_others(
    place: Workplace, tmp_path: Path, how: str, message: str
) -> None:
    plan = with_defense(plan_of(place, eps=[1]), Faulty(how=how))
    summary = execute(place, plan, tmp_path)
    assert len(summary.failures) == 3  # clean, fgsm and pgd
    assert all(message in line for line in summary.failures)
    assert summary.computed == 3


def test_a_run_directory_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    from iqabench.errors import OutputError

    with locked(tmp_path / "run"), pytest.raises(OutputError, match="in use by another iqabench"):
        locked(tmp_path / "run").__enter__()
    with locked(tmp_path / "run"):
        pass


def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    cell = tmp_path / "cells" / "demo" / "resnet"
    theirs = [
        tmp_path / ".notes.tmp",
        tmp_path / "sub" / ".leaderboard.csv.abcdefgh.tmp",
        tmp_path / ".cache.abcdefgh.tmp" / "file",
        cell / ".cell.json.swp.tmp",
    ]
    ours = [tmp_path / ".leaderboard.csv.abcdefgh.tmp", cell / ".x.json.01234_az.tmp"]
    for path in (*theirs, *ours):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    with locked(tmp_path):
        pass
    assert [p.exists() for p in theirs] == [True] * 4
    assert [p.exists() for p in ours] == [False] * 2


def test_a_request_that_came_to_nothing_leaves_no_run_directory(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()
    (tmp_path / "theirs").mkdir()
    with locked(tmp_path / "theirs"):
        pass
    assert (tmp_path / "theirs").exists()
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "run.json").write_text("{}")
    assert (tmp_path / "run" / "run.json").exists()


@dataclass(frozen=True, kw_only=True)
class Recorded(ObjectiveAttack):
    """Tells what it was asked."""

    summary = "recorded"
    asked: ClassVar[list[list[float]]] = []
    share: bool = True

    @property
    def shares_work(self) -> bool:
        return self.share

    def sweep(
        self,
        regressor: Regressor,
        images: Tensor,
        mos: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        self.asked.append([round(e * 255, 3) for e in eps_list])
        return single_steps(
            self.goal(regressor, images, mos, noise), regressor, images, eps_list, noise
        )

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        assert isinstance(self.facts, Facts)
        goal = self.goal(regressor, images, mos, noise)
        return next(single_steps(goal, regressor, images, [eps], noise))


@pytest.mark.parametrize(
    ("share", "asked"), [(True, [[1.0, 2.0, 4.0]]), (False, [[1.0], [2.0], [4.0]])]
)
def test_radii_are_computed_together_only_if_work_is_shared(
    place: Workplace, tmp_path: Path, share: bool, asked: list[list[float]]
) -> None:
    Recorded.asked.clear()
    execute(place, plan_of(place, [Recorded(share=share)], eps=[1, 2, 4]), tmp_path)
    assert Recorded.asked == asked
    Recorded.asked.clear()
    execute(place, plan_of(place, [Recorded(share=share)], eps=[1, 2, 3, 4]), tmp_path)
    assert Recorded.asked == [[3.0]]


def test_a_training_of_the_plan_is_the_chains_trained_part(place: Workplace) -> None:
    [entry] = plan_of(place).entries
    assert isinstance(entry.training, Training)
    assert entry.reference
    assert entry.shown == "resnet on biq2021"
