"""Computes the cells of a plan that have no result file yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from iqabench.contracts.attack import Attack
from iqabench.contracts.objective import Facts
from iqabench.contracts.regressor import Regressor
from iqabench.errors import OutputError, ResultsError, UsageError
from iqabench.files import remove_leftovers
from iqabench.keeping import Keeper, Saving, can_keep
from iqabench.memory import Memory
from iqabench.models import Models
from iqabench.planning import Entry, Plan
from iqabench.progress import Reporter
from iqabench.records import NOTHING, Attacked, Recorder
from iqabench.registry import Named
from iqabench.results import CLEAN, find_cells, read_cell, read_columns
from iqabench.routes import routes
from iqabench.scoring import Scores
from iqabench.seeding import exact_kernels
from iqabench.sweeping import Conditions, Sweep, clean_scores
from iqabench.visibility import Visibility


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


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run directory for this process.

    Raises:
        OutputError: It cannot be written, or another process holds it.
    """
    ours = not run.exists()
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / ".lock")
        lock.acquire(timeout=0)
    except Timeout as e:
        raise OutputError(
            f"run directory {run} is in use by another iqabench; wait or give --out"
        ) from e
    except OSError as e:
        raise OutputError(f"cannot write run directory {run}: {e.strerror or e}") from e
    try:
        folders = (run, *(run / name for name in ("splits", "figures", "cards")))
        for folder in (*folders, *run.glob("cells/*/*"), *run.glob("images/*")):
            remove_leftovers(folder)
        yield
    finally:
        lock.release()
        if ours and [path.name for path in run.glob("*")] == [".lock"]:
            with contextlib.suppress(OSError):  # the request came to nothing
                (run / ".lock").unlink()
                run.rmdir()


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
        self._forget_failures(plan)
        for data in {e.data.name: e.data for e in plan.entries}.values():
            if data.incomplete:
                self.reporter.say(f"data set {data.name}: only {data.incomplete} are there")
            data.split.keep(self.run / "splits")
        with exact_kernels():
            for entry in plan.entries:
                _EntryRun(self, plan, entry, summary).execute()
        return summary

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

    def _forget_failures(self, plan: Plan) -> None:
        """Remove the records of failed cells that this plan tries again."""
        planned = {
            (e.conditions, attack, eps)
            for e in plan.entries
            for attack in (CLEAN, *(a.canonical for a in plan.attacks))
            for eps in (0.0, *plan.eps_255)
        }
        for path in list(find_cells(self.run)):
            try:
                record = read_cell(path)
            except ResultsError:  # if the plan holds it, it is computed again
                continue
            cell, about = record.cell, record.about
            conditions = (
                cell["dataset"]["name"],
                cell.get("split"),
                cell["defense"]["spec"],
                about.get("backbone"),
                about.get("recipe"),
                cell.get("seed"),
            )
            what = (conditions, cell["attack"]["spec"], cell.get("eps_255"))
            if record.status == "failed" and what in planned:
                path.unlink()


@dataclass
class _EntryRun:
    """One defense on one data set: its checkpoint, clean pass, and attacks."""

    runner: Runner
    plan: Plan
    entry: Entry
    summary: Summary

    def execute(self) -> None:
        """Compute every missing cell; what a plugin raises fails its own cells only."""
        recipe_key, weights = "", None
        try:
            models = self.runner.models(self.plan)
            checkpoint = models.checkpoint(self.entry.training)
            recipe_key, weights = checkpoint.recipe_key, checkpoint.card()["weights_sha256"]
            checkpoint.keep_card(self.runner.run)
            regressor = models.defended(self.entry.chain, self.entry.training, checkpoint)
            draws = self.plan.benchmark.score_draws if regressor.stochastic else 1
            recorder = self._recorder(recipe_key, weights, draws)
            clean = self._clean(regressor, recorder)
        except UsageError:
            raise
        except Exception as e:
            self._fail_everything(self._recorder(recipe_key, weights, 1), e)
            return
        for attack in self.plan.attacks:
            self._attack(attack, regressor, clean, recorder)

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

    def _clean(self, regressor: Regressor, recorder: Recorder) -> Scores:
        if recorder.finds(NOTHING, 0.0):
            self.summary.found += 1
            path = recorder.path(NOTHING, 0.0)
            table = read_columns(path, read_cell(path))
            return Scores(torch.tensor(table["clean_score"]), torch.tensor(table["clean_logit"]))
        progress = self.runner.reporter.counter(f"scoring {self.entry.shown}")
        side = self.entry.data.test
        scores, columns, seconds = clean_scores(regressor, side, self.conditions, progress)
        cost = {"forwards": recorder.score_draws, "backwards": 0, "queries": None}
        recorder.done(NOTHING, 0.0, scores, columns, cost | {"seconds": round(seconds, 3)})
        self.summary.computed += 1
        return scores

    def _attack(
        self, attack: Named[Attack], regressor: Regressor, clean: Scores, recorder: Recorder
    ) -> None:
        draws = self.plan.benchmark.attack_draws if regressor.stochastic else None
        try:
            sources = self.runner.models(self.plan).sources(self.entry, attack.component)
        except UsageError:
            raise
        except Exception as e:
            attacked = Attacked.by(attack, sources={}, draws=draws)
            self._fail(recorder, attacked, self.plan.eps_255, e)
            return
        hashes = {spec: weights for spec, (weights, _) in sources.items()}
        ways = routes(attack.component, regressor, self.conditions.attack_draws)
        attacked = Attacked.by(attack, sources=hashes, draws=draws, routes=tuple(ways))
        ids = [self.entry.data.test.image_ids[number] for number in sorted(self.kept)]
        missing = [
            eps
            for eps in self.plan.eps_255
            if not recorder.finds(attacked, eps, ids if can_keep(eps) else (), self.learned)
        ]
        self.summary.found += len(self.plan.eps_255) - len(missing)
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
            try:
                sweep = self._prepared(attack.component, regressor, clean, facts, group[0])
            except Exception as e:
                self._fail(recorder, attacked, group, e)
            else:
                self._sweep(sweep, attacked, group, recorder)

    def _prepared(
        self, attack: Attack, regressor: Regressor, clean: Scores, facts: Facts, eps_255: float
    ) -> Sweep:
        """Return a sweep whose attack is prepared, fitted if need be, and passed at eps 0."""
        data, conditions = self.entry.data, self.conditions
        visibility = self.runner.visibility
        sweep = Sweep(attack.prepare(facts), regressor, data.test, clean, conditions, visibility)
        sweep.make_ready(data.train, eps_255)
        return sweep

    def _sweep(
        self, sweep: Sweep, attacked: Attacked, eps_255: Sequence[float], recorder: Recorder
    ) -> None:
        radii = ", ".join(f"{e:g}" for e in eps_255)
        task = f"{attacked.label} at {radii}/255 against {self.entry.shown}"
        keepers = {eps: self._keeper(recorder, attacked, eps) for eps in eps_255 if can_keep(eps)}
        wanted = keepers if self.kept else {}
        outcomes = sweep.run(eps_255, self.runner.reporter.counter(task), wanted)
        for eps, outcome in outcomes.items():
            if outcome.error is not None:
                self._fail(recorder, attacked, [eps], outcome.error)
            else:
                cost = sweep.cost(eps_255)
                images = outcome.keeper.kept if outcome.keeper else None
                recorder.done(attacked, eps, sweep.clean, outcome.columns, cost, images)
                self.summary.computed += 1

    def _keeper(self, recorder: Recorder, attacked: Attacked, eps_255: float) -> Keeper:
        run, side = self.runner.run, self.entry.data.test
        key = recorder.path(attacked, eps_255).stem.rpartition("-")[2]
        return Keeper(run, key, side, self.kept, eps_255, attacked.threat_model == "linf")

    def _fail(
        self, recorder: Recorder, attacked: Attacked, eps_255: Sequence[float], error: Exception
    ) -> None:
        for eps in eps_255:
            line = recorder.failed(attacked, eps, error)
            self.summary.failures.append(line)
            self.runner.reporter.warn(line)

    def _fail_everything(self, recorder: Recorder, error: Exception) -> None:
        """Without a checkpoint or clean scores there is nothing to attack."""
        self._fail(recorder, NOTHING, [0.0], error)
        for attack in self.plan.attacks:
            attacked = Attacked.by(attack, sources={}, draws=None)
            self._fail(recorder, attacked, self.plan.eps_255, error)
