"""Computes the cells of a plan that have no result file yet."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from iqabench.containment import contained
from iqabench.contracts.attack import Attack
from iqabench.contracts.objective import Facts
from iqabench.contracts.regressor import Regressor
from iqabench.errors import ResultsError, UsageError
from iqabench.keeping import Keeper, Saving, can_keep
from iqabench.memory import Memory
from iqabench.models import Models
from iqabench.planning import Entry, Plan
from iqabench.progress import Reporter
from iqabench.records import NOTHING, Attacked, Recorder
from iqabench.registry import Named
from iqabench.results import CLEAN, CellRecord, find_cells, read_cell, read_columns
from iqabench.routes import routes
from iqabench.scoring import Scores
from iqabench.seeding import exact_kernels
from iqabench.sweeping import Conditions, Outcome, Sweep, clean_scores
from iqabench.timeouts import can_interrupt, within
from iqabench.visibility import Visibility


@dataclass(frozen=True)
class Begun:
    """What is worked on from here on; whatever takes the process down is on its account.

    Attributes:
        attack: Canonical spec; ``clean`` for the clean pass.
        eps_255: The radii, in grey levels.
    """

    attack: str
    eps_255: tuple[float, ...]


@dataclass(frozen=True)
class Settled:
    """What became of one cell.

    Attributes:
        attack: Canonical spec; ``clean`` for the clean pass.
        eps_255: The radius, in grey levels.
        found: Whether it was there already.
        failure: One line on why it failed; None if it did not.
    """

    attack: str
    eps_255: float
    found: bool = False
    failure: str | None = None


Step = Begun | Settled


@dataclass
class Summary:
    """What a run did.

    Attributes:
        computed: Cells computed now.
        found: Cells that were there already.
        failures: One line per failed cell.
    """

    computed: int = 0
    found: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, cell: Settled) -> None:
        """Count a cell."""
        if cell.failure is not None:
            self.failures.append(cell.failure)
        elif cell.found:
            self.found += 1
        else:
            self.computed += 1


@dataclass(frozen=True)
class Runner:
    """Executes plans into a run directory that the caller has locked.

    Attributes:
        run: The run directory.
        store: Where checkpoints and pixel caches are.
        device: Where networks run.
        reporter: For messages and progress.
        saving: Which attacked images are kept; None keeps none.
        visibility: Learned distances that are columns too; None has none.
    """

    run: Path
    store: Path
    device: torch.device
    reporter: Reporter
    saving: Saving | None = None
    visibility: Visibility | None = None

    def execute(self, plan: Plan) -> Summary:
        """Compute what is missing and return what was done.

        Raises:
            UsageError: Something about the request turned out wrong (images, weights, output).
        """
        summary = Summary()
        prepare(self.run, plan, self.reporter)
        with exact_kernels():
            for entry in plan.entries:
                for step in self.steps(plan, entry):
                    if isinstance(step, Settled):
                        summary.add(step)
        return summary

    def steps(
        self, plan: Plan, entry: Entry, leave: Container[tuple[str, float]] = ()
    ) -> Iterator[Step]:
        """Compute what is missing of one entry, saying what is begun and how each cell ended.

        Args:
            plan: Attacks, radii and settings.
            entry: The defense on its data set.
            leave: Cells, as (canonical attack, eps_255), that are neither computed nor mentioned.

        Raises:
            UsageError: Something about the request turned out wrong (images, weights, output).
        """
        return _EntryRun(self, plan, entry, leave).steps()

    @cached_property
    def memory(self) -> Memory:
        """What the device was found to hold, for the whole run."""
        return Memory(say=self.reporter.say)

    def models(self, plan: Plan) -> Models:
        """Return where trained regressors come from."""
        benchmark = plan.benchmark
        return Models(
            self.store, self.device, self.reporter, benchmark.attack_draws, benchmark.speed
        )


def prepare(run: Path, plan: Plan, reporter: Reporter) -> None:
    """Make a run directory ready for a plan: its splits, and no failures that are tried again."""
    _forget_failures(run, plan)
    if plan.benchmark.cell_timeout is not None and not can_interrupt():
        reporter.warn("cell_timeout is not kept: nothing can be interrupted here")
    for data in {e.data.name: e.data for e in plan.entries}.values():
        if data.incomplete:
            reporter.say(f"data set {data.name}: only {data.incomplete} are there")
        data.split.keep(run / "splits")


def _conditions_of(record: CellRecord) -> tuple[Any, ...]:
    """Return what ``Entry.conditions`` was for the entry of a cell."""
    cell, about = record.cell, record.about
    return (
        cell["dataset"]["name"],
        cell.get("split"),
        cell["defense"]["spec"],
        about.get("backbone"),
        about.get("recipe"),
        cell.get("seed"),
    )


def _forget_failures(run: Path, plan: Plan) -> None:
    """Remove the records of failed cells that this plan tries again."""
    planned = {
        (e.conditions, attack, eps)
        for e in plan.entries
        for attack in (CLEAN, *(a.canonical for a in plan.attacks))
        for eps in (0.0, *plan.eps_255)
    }
    for path in list(find_cells(run)):
        try:
            record = read_cell(path)
        except ResultsError:  # if the plan holds it, it is computed again
            continue
        what = (_conditions_of(record), record.cell["attack"]["spec"], record.cell.get("eps_255"))
        if record.status == "failed" and what in planned:
            path.unlink()


@dataclass
class _EntryRun:
    """One defense on one data set: its checkpoint, clean pass, and attacks."""

    runner: Runner
    plan: Plan
    entry: Entry
    leave: Container[tuple[str, float]]

    def steps(self) -> Iterator[Step]:
        """Compute every missing cell; what a plugin raises fails its own cells only."""
        recipe_key, weights = "", None
        try:
            models = self.runner.models(self.plan)
            checkpoint = models.checkpoint(self.entry.training)
            recipe_key, weights = checkpoint.recipe_key, checkpoint.card()["weights_sha256"]
            checkpoint.keep_card(self.runner.run)
            regressor = within(
                self.limit,
                lambda: models.defended(self.entry.chain, self.entry.training, checkpoint),
            )
            draws = self.plan.benchmark.score_draws if regressor.stochastic else 1
            recorder = self._recorder(recipe_key, weights, draws)
            yield Begun(CLEAN, (0.0,))
            clean, found = self._clean(regressor, recorder)
        except UsageError:
            raise
        except Exception as e:
            yield from self._fail_everything(self._recorder(recipe_key, weights, 1), e)
            return
        yield Settled(CLEAN, 0.0, found)
        for attack in self.plan.attacks:
            yield from self._attack(attack, regressor, clean, recorder)

    @cached_property
    def kept(self) -> frozenset[int]:
        """Places of the images that are kept."""
        saving = self.runner.saving
        return frozenset() if saving is None else saving.numbers(self.entry.data.test)

    @property
    def learned(self) -> tuple[str, ...]:
        """Columns of learned distances that are wanted."""
        return () if self.runner.visibility is None else tuple(self.runner.visibility.metrics)

    @property
    def limit(self) -> float | None:
        """Seconds that one cell may take."""
        return self.plan.benchmark.cell_timeout

    @property
    def conditions(self) -> Conditions:
        """What surrounds the sweeps of this entry."""
        benchmark = self.plan.benchmark
        return Conditions(
            self.entry.seed,
            benchmark.score_draws,
            benchmark.attack_draws,
            benchmark.batch_size,
            self.runner.device,
            self.runner.memory,
        )

    def _recorder(self, recipe_key: str, weights: str | None, draws: int) -> Recorder:
        runner = self.runner
        speed = self.plan.benchmark.speed
        return Recorder(runner.run, self.entry, recipe_key, weights, draws, runner.device, speed)

    def _clean(self, regressor: Regressor, recorder: Recorder) -> tuple[Scores, bool]:
        """Return the clean scores, and whether they were there already."""
        if recorder.finds(NOTHING, 0.0):
            path = recorder.path(NOTHING, 0.0)
            table = read_columns(path, read_cell(path))
            own = Scores(torch.tensor(table["clean_score"]), torch.tensor(table["clean_logit"]))
            return own, True
        progress = self.runner.reporter.counter(f"scoring {self.entry.shown}")
        side = self.entry.data.test
        scores, columns, seconds = within(
            self.limit, lambda: clean_scores(regressor, side, self.conditions, progress)
        )
        cost = {"forwards": recorder.score_draws, "backwards": 0, "queries": None}
        recorder.done(NOTHING, 0.0, scores, columns, cost | {"seconds": round(seconds, 3)})
        return scores, False

    def _attack(
        self, attack: Named[Attack], regressor: Regressor, clean: Scores, recorder: Recorder
    ) -> Iterator[Step]:
        asked = [e for e in self.plan.eps_255 if (attack.canonical, e) not in self.leave]
        if not asked:
            return
        yield Begun(attack.canonical, tuple(asked))
        draws = self.plan.benchmark.attack_draws if regressor.stochastic else None
        try:
            sources = self.runner.models(self.plan).sources(self.entry, attack.component)
        except UsageError:
            raise
        except Exception as e:
            attacked = Attacked.by(attack, sources={}, draws=draws)
            yield from self._fail(recorder, attacked, asked, e)
            return
        hashes = {spec: weights for spec, (weights, _) in sources.items()}
        ways = routes(attack.component, regressor, self.conditions.attack_draws)
        attacked = Attacked.by(attack, sources=hashes, draws=draws, routes=tuple(ways))
        ids = [self.entry.data.test.image_ids[number] for number in sorted(self.kept)]
        missing = []
        for eps in asked:
            if recorder.finds(attacked, eps, ids if can_keep(eps) else (), self.learned):
                yield Settled(attack.canonical, eps, found=True)
            else:
                missing.append(eps)
        if not missing:
            return
        side = self.entry.data.test
        facts = Facts(
            side.image_ids,
            side.mos.tolist(),
            clean.logits.tolist(),
            {spec: source for spec, (_, source) in sources.items()},
        )
        together = attack.component.shares_work and not attack.component.needs_fit
        for group in [missing] if together else [[eps] for eps in missing]:
            yield Begun(attack.canonical, tuple(group))
            ready = partial(self._prepared, attack.component, regressor, clean, facts, group[0])
            yield from self._sweep(ready, attacked, group, recorder)

    def _prepared(
        self, attack: Attack, regressor: Regressor, clean: Scores, facts: Facts, eps_255: float
    ) -> Sweep:
        """Return a sweep whose attack is prepared, fitted if need be, and passed at eps 0."""
        data, conditions = self.entry.data, self.conditions
        visibility = self.runner.visibility
        with contained("the attack, being prepared,"):
            prepared = attack.prepare(facts)
        sweep = Sweep(prepared, regressor, data.test, clean, conditions, visibility)
        sweep.make_ready(data.train, eps_255)
        return sweep

    def _sweep(
        self,
        ready: Callable[[], Sweep],
        attacked: Attacked,
        eps_255: Sequence[float],
        recorder: Recorder,
    ) -> Iterator[Settled]:
        radii = ", ".join(f"{e:g}" for e in eps_255)
        task = f"{attacked.label} at {radii}/255 against {self.entry.shown}"
        keepers = {eps: self._keeper(recorder, attacked, eps) for eps in eps_255 if can_keep(eps)}
        wanted = keepers if self.kept else {}
        progress = self.runner.reporter.counter(task)

        def work() -> tuple[Sweep, dict[float, Outcome]]:
            sweep = ready()
            return sweep, sweep.run(eps_255, progress, wanted)

        try:
            sweep, outcomes = within(self.limit and self.limit * len(eps_255), work)
        except Exception as e:
            yield from self._fail(recorder, attacked, eps_255, e)
            return
        for eps, outcome in outcomes.items():
            if outcome.error is not None:
                yield from self._fail(recorder, attacked, [eps], outcome.error)
            else:
                cost = sweep.cost(eps_255)
                images = outcome.keeper.kept if outcome.keeper else None
                recorder.done(attacked, eps, sweep.clean, outcome.columns, cost, images)
                yield Settled(attacked.spec, eps)

    def _keeper(self, recorder: Recorder, attacked: Attacked, eps_255: float) -> Keeper:
        run, side = self.runner.run, self.entry.data.test
        key = recorder.path(attacked, eps_255).stem.rpartition("-")[2]
        return Keeper(run, key, side, self.kept, eps_255, attacked.threat_model == "linf")

    def _fail(
        self, recorder: Recorder, attacked: Attacked, eps_255: Sequence[float], error: Exception
    ) -> Iterator[Settled]:
        for eps in eps_255:
            line = recorder.failed(attacked, eps, error)
            self.runner.reporter.warn(line)
            yield Settled(attacked.spec, eps, failure=line)

    def _fail_everything(self, recorder: Recorder, error: Exception) -> Iterator[Settled]:
        """Without a checkpoint or clean scores there is nothing to attack."""
        yield from self._fail(recorder, NOTHING, [0.0], error)
        for attack in self.plan.attacks:
            attacked = Attacked.by(attack, sources={}, draws=None)
            radii = [e for e in self.plan.eps_255 if (attacked.spec, e) not in self.leave]
            yield from self._fail(recorder, attacked, radii, error)
