"""From a benchmark to the list of what has to be computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.config import Benchmark, Conditions
from iqabench.containment import shielded
from iqabench.contracts.attack import Attack
from iqabench.contracts.dataset import Dataset
from iqabench.data import DataHome, OpenDataset, dataset, missing_line
from iqabench.errors import (
    ConfigError,
    DataError,
    ParamError,
    PluginLoadError,
    SpecError,
    UnknownNameError,
    UsageError,
)
from iqabench.progress import Reporter
from iqabench.recipes import Recipe
from iqabench.registry import ATTACKS, DATASETS, Named
from iqabench.results import CLEAN
from iqabench.seeding import lent_rng
from iqabench.sides import Geometry, Side
from iqabench.specs import parse
from iqabench.suites import expand
from iqabench.training import Training

ITS_OWN = "its own"
"""The backbone of a defense that is not trained, as results name it."""
NOT_TRAINED = "none"
"""Its recipe."""


@dataclass(frozen=True)
class Entry:
    """One defense on one data set with one seed: what shares a checkpoint and a clean pass.

    Attributes:
        data: The opened data set.
        chain: The defense.
        training: What makes its checkpoint.
        recipe_name: What the recipe is called.
        reference: Whether this is the undefended reference row.
    """

    data: OpenDataset
    chain: Chain
    training: Training
    recipe_name: str
    reference: bool

    @property
    def seed(self) -> int:
        """Seed of training, attack and scoring."""
        return self.training.seed

    @property
    def backbone_name(self) -> str:
        """What its network is built on, for people."""
        return self.training.backbone.name if self.chain.trains else ITS_OWN

    @property
    def shown(self) -> str:
        """The entry in a few words."""
        seed = f", seed {self.seed}" if self.seed else ""
        return f"{self.chain.label} on {self.data.name}{seed}"

    @property
    def conditions(self) -> tuple[str | int, ...]:
        """What tells it from other entries before it has weights, in plain values."""
        data, split = self.data, self.data.split.fingerprint
        spec = self.chain.canonical
        return data.name, split, spec, self.backbone_name, self.recipe_name, self.seed

    def sibling(self, chain: Chain) -> Training:
        """Return the training of another defense under the same conditions (transfer sources)."""
        own = self.training
        return Training(chain.trained, own.backbone, own.recipe, own.data, own.seed)


@dataclass(frozen=True)
class Plan:
    """Everything a run computes; it holds no image.

    Attributes:
        entries: Defenses on data sets.
        attacks: Attacks that each of them meets.
        eps_255: Radii in grey levels.
        benchmark: Draws, batch size and the rest of the settings.
    """

    entries: tuple[Entry, ...]
    attacks: tuple[Named[Attack], ...]
    eps_255: tuple[float, ...]
    benchmark: Benchmark

    def sides(self, *, attacked: bool) -> list[Side]:
        """Return the sides of every data set once: for training, and those attacked too."""
        found = {e.data.name: e.data for e in self.entries}.values()
        return [side for d in found for side in ((d.train, d.test) if attacked else (d.train,))]

    def fetch_weights(self, store: Path) -> None:
        """Download the ImageNet weights that trainings to come start from.

        Raises:
            WeightsError: They are not there and cannot be had.
        """
        trainings = [e.training for e in self.entries if e.chain.trains]
        waiting = [t for t in trainings if not t.checkpoint(store).exists]
        for backbone in dict.fromkeys(t.backbone for t in waiting):
            with lent_rng():
                backbone.build()

    def cells(self) -> Iterator[tuple[Entry, str, float]]:
        """Yield (entry, attack, eps_255) of every cell, clean passes included."""
        for entry in self.entries:
            yield entry, CLEAN, 0.0
            for attack in self.attacks:
                for eps_255 in self.eps_255:
                    yield entry, attack.label, eps_255


def attack(text: str) -> Named[Attack]:
    """Return the attack that a component string describes.

    Raises:
        SpecError: It is a chain; attacks have no wrappers.
    """
    parts = parse(text)
    if len(parts) > 1:
        raise SpecError(f"attack {text!r}: attacks cannot be chained with '+'; give several flags")
    return ATTACKS.create(parts[0])


def conditions_of(benchmark: Benchmark, named: Named[Dataset]) -> Conditions:
    """Return how the networks of a data set are made.

    A key of ``datasets`` with the same parameters wins over one with the name alone.

    Raises:
        UnknownNameError: A key of ``datasets`` names no installed data set.
    """
    same, name_alone = [], []
    for text in benchmark.datasets:
        part = parse(text)[0]
        if DATASETS.entry(part.name).full_name != named.name:
            continue
        if dataset(text).canonical == named.canonical:
            same.append(text)
        elif not part.arguments:
            name_alone.append(text)
    return benchmark.conditions(*same, *name_alone)


def choose_datasets(benchmark: Benchmark, asked: Sequence[str], home: DataHome) -> list[str]:
    """Return the data sets to run: those asked for, else those of the benchmark that are there.

    Missing ones are named in a line each; with none there, it is the one that makes itself.

    Raises:
        DataError: One that was asked for is missing, or none is left.
    """
    if asked:
        for text in asked:
            named = dataset(text)
            if not named.component.makes_itself and home.find(named) is None:
                raise DataError(missing_line(named, home.root))
        return list(dict.fromkeys(asked))
    found, fallback = [], []
    for text in benchmark.datasets:
        named = dataset(text)
        if named.component.makes_itself:
            fallback.append(text)
        elif home.find(named) is not None:
            found.append(text)
        else:
            home.reporter.say(missing_line(named, home.root))
    if not (found or fallback):
        raise DataError("no data set of the benchmark is there; give --data-root or --dataset demo")
    if not found:
        home.reporter.say(f"no images found, so the data set is {', '.join(fallback)}")
    return found or fallback


def make_plan(
    benchmark: Benchmark, datasets: Sequence[str], home: DataHome, *, split: Path | None
) -> Plan:
    """Check everything that can be checked before work begins, and return the plan.

    Raises:
        UsageError: A name, parameter, value, file or combination is wrong.
    """
    if split is not None and len(datasets) != 1:
        raise ConfigError(f"--split is for one data set, found {len(datasets)}; add --dataset NAME")
    attacks = _unique(attack(text) for text in expand(benchmark.attacks))
    chains = _chains(benchmark, home.reporter)
    sources = [Chain.parse(spec) for a in attacks for spec in a.component.sources()]
    entries: list[Entry] = []
    for text in datasets:
        named = dataset(text)
        conditions = conditions_of(benchmark, named)
        recipe = benchmark.get_recipe(conditions.recipe)
        for chain in (*(chain for chain, _ in chains), *sources):
            _check_fit(chain, _backbone(benchmark, conditions, chain))
        data = home.open(
            named,
            Geometry(recipe.resize, recipe.crop),
            split=split,
            split_seed=benchmark.split_seed,
            images=benchmark.images,
        )
        entries += _entries(benchmark, chains, data, recipe, conditions)
    return Plan(tuple(entries), attacks, benchmark.eps, benchmark)


def _chains(benchmark: Benchmark, reporter: Reporter) -> list[tuple[Chain, bool]]:
    """Every defense once, the reference first, with whether it is the reference."""
    reference = Chain.parse(benchmark.reference) if benchmark.reference else None
    chains = {c.canonical: c for c in map(Chain.parse, benchmark.defenses)}
    missing = []
    for spec in benchmark.if_installed:
        try:
            chain = Chain.parse(spec)
        except UnknownNameError:
            missing.append(spec)
        else:
            chains[chain.canonical] = chain
    if missing:
        reporter.say(f"skipped, because nothing installs them yet: {', '.join(missing)}")
    ordered = ({reference.canonical: reference} if reference else {}) | chains
    return [
        (c, reference is not None and c.canonical == reference.canonical) for c in ordered.values()
    ]


def _entries(
    benchmark: Benchmark,
    chains: Sequence[tuple[Chain, bool]],
    data: OpenDataset,
    recipe: Recipe,
    conditions: Conditions,
) -> Iterator[Entry]:
    for seed in dict.fromkeys(benchmark.seeds):
        for chain, reference in chains:
            backbone = _backbone(benchmark, conditions, chain)
            training = Training(chain.trained, backbone, recipe, data, seed)
            made = conditions.recipe if chain.trains else NOT_TRAINED
            yield Entry(data, chain, training, made, reference)


def _backbone(benchmark: Benchmark, conditions: Conditions, chain: Chain) -> BackboneSpec:
    name = conditions.backbones.get(chain.base.name, conditions.backbone)
    return BackboneSpec(name, conditions.weights, benchmark.imagenet_norm)


def _check_fit(chain: Chain, backbone: BackboneSpec) -> None:
    backbone.provenance()
    if backbone.from_file:
        with lent_rng():
            backbone.build()
    try:
        with shielded(), lent_rng():
            chain.build(backbone.build(with_weights=False))
    except UsageError:
        raise
    except Exception:  # a plugin may raise anything; its own cells fail when it is their turn
        return


def _unique(attacks: Iterator[Named[Attack]]) -> tuple[Named[Attack], ...]:
    return tuple({a.canonical: a for a in attacks}.values())


def all_datasets(reporter: Reporter) -> Iterator[Named[Dataset]]:
    """Yield every installed data set with its default parameters; name those that do not load."""
    for name in DATASETS.names():
        try:
            yield dataset(name)
        except (PluginLoadError, ParamError) as e:
            reporter.warn(str(e))
