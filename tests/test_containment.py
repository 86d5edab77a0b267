"""What plugins do to the process they run in stays with their own cells, and is named."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from support import Workplace
from torch import Tensor, nn

from iqabench.api import (
    Attack,
    Backbone,
    Batch,
    Defense,
    Noise,
    Regressor,
    TrainState,
    global_average,
)
from iqabench.chains import Chain
from iqabench.config import load_benchmark
from iqabench.containment import Surroundings, contained, shielded
from iqabench.data import DataHome
from iqabench.errors import CellError, UsageError
from iqabench.planning import Plan, attack, make_plan
from iqabench.progress import Silent
from iqabench.registry import Named
from iqabench.results import find_cells, read_cell
from iqabench.running import Runner, Summary
from iqabench.timeouts import can_interrupt, within

MEDDLING: dict[str, tuple[Callable[[], object], str]] = {
    "seed": (lambda: torch.manual_seed(1), "torch's global random state"),
    "draw": (lambda: torch.rand(1), "torch's global random state"),
    "numpy": (lambda: np.random.rand(), "numpy's global random state"),  # noqa: NPY002
    "python": (random.random, "python's global random state"),
    "grad": (lambda: torch.set_grad_enabled(False), "torch's grad mode"),
    "dtype": (lambda: torch.set_default_dtype(torch.float64), "torch's default dtype"),
    "device": (lambda: torch.set_default_device("meta"), "torch's default device"),
    "threads": (lambda: torch.set_num_threads(3), "torch's number of threads"),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True),
        "torch's deterministic mode",
    ),
    "cudnn": (lambda: setattr(torch.backends.cudnn, "benchmark", True), "torch's cuDNN flags"),
    "folder": (lambda: os.chdir("/"), "the working directory"),
}
"""What a plugin may do to all others, and how it is called."""


@dataclass(frozen=True, kw_only=True)
class Meddler(Attack):
    """Moves nothing, and does something else above eps 0."""

    summary = "meddler"
    how: str = ""

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        while eps and self.how == "hang":
            try:
                time.sleep(0.01)
            except Exception:
                continue
        print("meddling at", eps)  # noqa: T201 - the fault
        moved = images.clone()
        if eps and self.how in MEDDLING:
            MEDDLING[self.how][0]()
        return moved


@dataclass(frozen=True, kw_only=True)
class Careless(Defense):
    """The undefended network, which disturbs where it is told to."""

    summary = "careless"
    where: str = ""

    def build(self, backbone: Backbone) -> Regressor:
        if self.where == "build":
            torch.set_num_threads(3)
        print("built")  # noqa: T201 - the fault
        return CarelessNet(backbone, self.where)

    def train_step(
        self, regressor: Regressor, batch: Batch, state: TrainState
    ) -> Iterator[tuple[Tensor, str]]:
        if self.where == "train_step" and state.step == 0:
            np.random.rand()  # noqa: NPY002 - the fault
        yield from super().train_step(regressor, batch, state)


class CarelessNet(Regressor):
    def __init__(self, backbone: Backbone, where: str) -> None:
        super().__init__()
        self.backbone, self.where = backbone, where
        self.head = nn.Linear(backbone.out_channels, 1)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        if self.where == "forward" and not self.training:
            torch.rand(1)
        out: Tensor = self.head(global_average(self.backbone(images))).squeeze(1)
        return out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


def plan_of(place: Workplace, attacks: Sequence[Named[Attack]], **flags: object) -> Plan:
    benchmark = load_benchmark(place.config, {"eps": [1], **flags})
    home = DataHome(place.data, place.store, Silent())
    plan = make_plan(benchmark, ["biq2021"], home, split=None)
    return dataclasses.replace(plan, attacks=tuple(attacks))


def meddlers(*ways: str) -> list[Named[Attack]]:
    return [Named(Meddler(how=how), "meddler", f"tests/{how}@1") for how in ways]


def execute(place: Workplace, plan: Plan, run: Path) -> Summary:
    run.mkdir(exist_ok=True)
    return Runner(run, place.store, torch.device("cpu"), Silent()).execute(plan)


def tables(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.glob("cells/*/*/*.csv")}


def test_an_attack_that_disturbs_the_process_fails_its_own_cell_alone(
    place: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    around = Surroundings()
    lawful = [attack("fgsm"), attack("pgd:steps=2"), attack("torchattacks:PGD,steps=2")]
    assert execute(place, plan_of(place, lawful), tmp_path / "alone").failures == []
    among = [*meddlers(*MEDDLING), *lawful, *meddlers("print")]
    summary = execute(place, plan_of(place, among), tmp_path / "among")
    assert around.changed() == []
    expected = [f"the attack changed {what}" for _, what in MEDDLING.values()]
    assert len(summary.failures) == len(expected)
    for line, wanted, how in zip(summary.failures, expected, MEDDLING, strict=True):
        assert wanted in line
        assert f"meddler:how={how} at 1/255 against resnet on biq2021 failed" in line
    alone, disturbed = tables(tmp_path / "alone"), tables(tmp_path / "among")
    assert {name: disturbed[name] for name in alone} == alone
    assert len(disturbed) == len(alone) + 1  # the one that only printed
    said = capsys.readouterr()
    assert "meddling" not in said.out
    assert "meddling at 0.00392" in said.err


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("build", "the defense, being built, changed torch's number of threads"),
        ("train_step", "the defense changed numpy's global random state"),
        ("forward", "the defense changed torch's global random state"),
    ],
)
def test_a_defense_that_disturbs_the_process_fails_its_own_cells_alone(
    place: Workplace, tmp_path: Path, where: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    around = Surroundings()
    plan = plan_of(place, [attack("fgsm")])
    [entry] = plan.entries
    chain = Chain((), Named(Careless(where=where), "careless", "tests/careless@1"))
    training = dataclasses.replace(entry.training, chain=chain)
    own = dataclasses.replace(entry, chain=chain, training=training, reference=False)
    plan = dataclasses.replace(plan, entries=(own, entry))
    execute(place, plan, tmp_path)
    again = execute(place, plan, tmp_path)  # what disturbed only once is not saved to go on from
    assert len(again.failures) == 2  # clean and fgsm
    assert all(message in line for line in again.failures)
    assert (again.computed, again.found) == (0, 2)
    assert around.changed() == []
    assert capsys.readouterr().out == ""


def test_a_cell_that_takes_too_long_fails_and_the_next_ones_go_on(
    place: Workplace, tmp_path: Path
) -> None:
    execute(place, plan_of(place, [attack("fgsm")]), tmp_path)
    hanging = plan_of(place, meddlers("hang"), eps=[1, 2], cell_timeout=0.2)
    summary = execute(place, hanging, tmp_path)
    assert [("1/255" in line, "2/255" in line) for line in summary.failures] == [
        (True, False),
        (False, True),
    ]
    assert all("not done after 0.2 s, the time limit" in line for line in summary.failures)
    keys = [read_cell(path).key for path in find_cells(tmp_path)]
    assert len(keys) == len(set(keys)) == 4
    assert not list(tmp_path.rglob("*.tmp"))


def swallow() -> None:
    for _ in range(3):
        try:
            time.sleep(5)
        except:  # noqa: E722 - what plugins do
            continue


def test_work_that_is_given_up_leaves_no_alarm_behind() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(CellError, match="not done after 0.05 s"):
        within(0.05, lambda: time.sleep(10))
    assert within(5, lambda: "done") == "done"
    with pytest.raises(ValueError, match="invalid literal"):
        within(5, partial(int, "x"))
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_somebody_who_catches_the_first_alarm_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iqabench.timeouts.AGAIN", 0.05)
    began = time.monotonic()
    within(0.05, swallow)  # it ended by itself, sooner than it would have
    assert time.monotonic() - began < 4


def test_nothing_is_interrupted_outside_the_main_thread() -> None:
    found: list[object] = []

    def nap() -> str:
        time.sleep(0.01)
        return "done"

    def work() -> None:
        found.extend((can_interrupt(), within(0.001, nap)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False, "done"]


def raise_with_grad_off(error: Exception) -> None:
    with contained("it"):
        torch.set_grad_enabled(False)
        raise error


def test_an_error_says_what_else_was_disturbed_unless_it_is_our_own() -> None:
    with pytest.raises(CellError, match=r"^ValueError: why \(it changed torch's grad mode\)$"):
        raise_with_grad_off(ValueError("why"))
    with pytest.raises(UsageError, match="^why$"):
        raise_with_grad_off(UsageError("why"))
    assert torch.is_grad_enabled()


def test_a_shielded_block_may_disturb_and_nothing_is_left_of_it() -> None:
    around = Surroundings()
    with shielded():
        assert sys.stdout is sys.stderr
        for meddle, _ in MEDDLING.values():
            meddle()
        assert len(around.changed()) == len(MEDDLING) - 1  # two of them are one generator's
    assert around.changed() == []
