"""What the figure commands share: from flags to trained defenses, and to files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from iqabench.cli.console import ConsoleReporter, print_json
from iqabench.cli.setup import benchmark_of, device_of, home_of
from iqabench.config import Benchmark
from iqabench.contracts.attack import Attack
from iqabench.data import OpenDataset
from iqabench.errors import ConfigError, OutputError
from iqabench.figures.subject import Subject, subjects
from iqabench.models import Models
from iqabench.planning import Plan, choose_datasets, make_plan
from iqabench.progress import Counter
from iqabench.registry import Named
from iqabench.sides import decode

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """A checked request for a figure; nothing is trained yet.

    Attributes:
        plan: Entries of one data set and one seed, one attack (or more), one radius.
        models: Where trained regressors come from.
        reporter: For messages; to be closed at the end.
        out: Where the files go.
        as_json: Whether the answer is a JSON document.
    """

    plan: Plan
    models: Models
    reporter: ConsoleReporter
    out: Path
    as_json: bool

    @property
    def data(self) -> OpenDataset:
        """The data set."""
        return self.plan.entries[0].data

    @property
    def attack(self) -> Named[Attack]:
        """The attack, the first one if there are more."""
        return self.plan.attacks[0]

    @property
    def eps_255(self) -> float:
        """The radius in grey levels, above 0."""
        return self.plan.eps_255[0]

    def train(self) -> list[Subject]:
        """Find or train every defense, with every attack.

        Raises:
            CellError: A training failed.
        """
        self.open_training()
        return list(subjects(self.plan, self.models))

    def counter(self, subject: Subject) -> Counter:
        """Begin to measure a defense; see ``Reporter.counter``."""
        return self.reporter.counter(f"measuring {subject.label}")

    def open_training(self) -> None:
        """Get what trainings to come start from and learn from.

        Raises:
            UsageError: Weights or images are missing or damaged.
        """
        store = self.models.store
        self.plan.fetch_weights(store)
        if not all(e.training.checkpoint(store).exists for e in self.plan.entries):
            decode(self.plan.sides(attacked=False), self.reporter)

    def show(self, paths: Sequence[Path], facts: dict[str, object]) -> int:
        """Print the paths of what was written, and return the exit code."""
        if self.as_json:
            print_json({path.suffix[1:]: str(path) for path in paths} | facts)
        else:
            sys.stdout.writelines(f"{path}\n" for path in paths)
        return 0


def setting_of(
    arguments: argparse.Namespace,
    *,
    most: int = 1,
    images: int | None = None,
    one_attack: bool = True,
) -> Setting:
    """Return what the flags of a figure command ask for.

    Args:
        arguments: The flags.
        most: How many defenses fit into the figure.
        images: How many test images are shown where nobody says; None for all.
        one_attack: Whether several attacks are too many.

    Raises:
        UsageError: A name, value, file or combination is wrong.
    """
    reporter = ConsoleReporter()
    asked = vars(arguments) | {"attack": arguments.attack or arguments.figure_attacks}
    benchmark = benchmark_of(argparse.Namespace(**asked), reporter)
    (eps,) = _one("eps", list(benchmark.eps))
    if eps == 0:
        raise ConfigError("eps 0 moves nothing, so there is nothing to show; give --eps 1")
    setting = prepare(arguments, benchmark, reporter, most=most, images=images)
    if one_attack:
        _one("attack", [attack.label for attack in setting.plan.attacks])
    return setting


def prepare(
    arguments: argparse.Namespace,
    benchmark: Benchmark,
    reporter: ConsoleReporter,
    *,
    most: int,
    images: int | None,
) -> Setting:
    """Return the setting of a benchmark: one data set, one seed, no reference; ``setting_of``.

    Raises:
        UsageError: A name, value, file or combination is wrong.
    """
    device = device_of(benchmark.device)
    check_writable(arguments.out)
    seeds = benchmark.seeds if arguments.seed is not None else benchmark.seeds[:1]
    _one("seed", [str(seed) for seed in seeds])
    changes = {"reference": None, "seeds": seeds, "images": benchmark.images or images}
    benchmark = benchmark.model_copy(update=changes)
    home = home_of(arguments, benchmark, reporter)
    chosen = _one("dataset", choose_datasets(benchmark, arguments.dataset or [], home))
    plan = make_plan(benchmark, chosen, home, split=arguments.split)
    labels = [entry.chain.label for entry in plan.entries]
    if len(labels) > most:
        fits = "one defense fits" if most == 1 else f"{most} defenses fit"
        raise ConfigError(f"{fits} into this figure, found {len(labels)}: {', '.join(labels)}")
    models = Models(home.store, device, reporter, benchmark.attack_draws, benchmark.speed)
    return Setting(plan, models, reporter, arguments.out, arguments.json)


def check_writable(out: Path) -> None:
    """See that files can be written to a folder, without making it.

    Raises:
        OutputError: They cannot.
    """
    found = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not found.is_dir():
        raise OutputError(f"cannot write {out}: {found} is a file")
    if not os.access(found, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {out}: Permission denied")


def check_mos(mos: float | None) -> float | None:
    """Return a label if it is one.

    Raises:
        ConfigError: It is outside ``[0, 1]``.
    """
    if mos is not None and not 0 <= mos <= 1:
        raise ConfigError(f"mos {mos:g} is no label; give a number from 0 to 1, higher is better")
    return mos


def facts_of(setting: Setting) -> list[str]:
    """Return what stands in the second line of every figure."""
    entry = setting.plan.entries[0]
    proxy = " (proxy labels)" if entry.data.named.component.proxy_labels else ""
    seed = [f"seed {entry.seed}"] if entry.seed else []
    trained = f"{entry.training.backbone.name} trained on {entry.data.name}{proxy}"
    return [trained, f"recipe {entry.recipe_name}", *seed]


def _one(flag: str, values: list[T]) -> list[T]:
    if len(values) != 1:
        listed = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
        raise ConfigError(
            f"a figure has one {flag}, found {len(values)}: {listed}; give one --{flag}"
        )
    return values
