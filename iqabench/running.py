"""Computes the cells of a plan that have no result file yet."""

from __future__ import annotations

import contextlib
from collections import Counter as Count
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from iqabench.chains import Chain
from iqabench.checkpoints import Checkpoint
from iqabench.contracts.attack import Attack
from iqabench.contracts.objective import Facts
from iqabench.contracts.regressor import Expectation, Regressor
from iqabench.environment import environment
from iqabench.errors import CellError, OutputError, ResultsError, UsageError
from iqabench.metrics import agreement
from iqabench.planning import Entry, Plan, cell_of
from iqabench.progress import Reporter
from iqabench.registry import Named
from iqabench.results import (
    CLEAN,
    CellRecord,
    Columns,
    cell_path,
    find_cells,
    is_complete,
    read_cell,
    read_columns,
    write_cell,
)
from iqabench.scoring import CellColumns, Scores
from iqabench.sweeping import Conditions, Outcome, Sweep, clean_scores, fitting_batches
from iqabench.training import find_or_train


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
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / ".lock")
        lock.acquire(timeout=0)
    except Timeout as e:
        raise OutputError(f"run directory {run} is in use by another iqabench; wait or give --out") from e
    except OSError as e:
        raise OutputError(f"cannot write run directory {run}: {e.strerror or e}") from e
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Runner:
    """Executes plans into a run directory that the caller has locked.

    Attributes:
        run: The run directory.
        store: Where checkpoints and pixel caches are.
        device: Where networks run.
        reporter: For messages and progress.
    """

    run: Path
    store: Path
    device: torch.device
    reporter: Reporter

    def execute(self, plan: Plan) -> Summary:
        """Compute what is missing and return what was done.

        Raises:
            UsageError: Something about the request turned out wrong (images, weights, output).
        """
        summary = Summary()
        self._forget_failures(plan)
        for data in {e.data.name: e.data for e in plan.entries}.values():
            data.split.save(self.run / "splits" / f"{data.name.replace('/', '-')}.json")
            data.train.open(self.reporter)
            data.test.open(self.reporter)
        flags = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with flags:
            for entry in plan.entries:
                _EntryRun(self, plan, entry, summary).execute()
        return summary

    def _forget_failures(self, plan: Plan) -> None:
        """Remove the records of failed cells that this plan tries again."""
        planned = {
            (e.data.name, e.chain.canonical, attack, eps, e.seed)
            for e in plan.entries
            for attack in (CLEAN, *(a.canonical for a in plan.attacks))
            for eps in (0.0, *plan.eps_255)
        }
        for path in list(find_cells(self.run)):
            try:
                record = read_cell(path)
            except ResultsError:  # if the plan holds it, it is computed again
                continue
            cell = record.cell
            what = (
                cell["dataset"]["name"],
                cell["defense"]["spec"],
                cell["attack"]["spec"],
                cell["eps_255"],
                cell["seed"],
            )
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
        try:
            checkpoint = self._train(self.entry.training)
            self.weights: str | None = checkpoint.card()["weights_sha256"]
            self.recipe_key = checkpoint.recipe_key
            regressor = self._load(checkpoint)
        except UsageError:
            raise
        except Exception as e:  # a plugin may raise anything; only its own cells suffer
            self._fail_everything(e)
            return
        benchmark = self.plan.benchmark
        self.conditions = Conditions(
            self.entry.seed,
            benchmark.score_draws,
            benchmark.attack_draws,
            benchmark.batch_size,
            self.runner.device,
        )
        self.score_draws = benchmark.score_draws if regressor.stochastic else 1
        try:
            clean = self._clean(regressor)
        except Exception as e:
            self._fail_everything(e)
            return
        for attack in self.plan.attacks:
            self._attack(attack, regressor, clean)

    def _train(self, training: Any) -> Checkpoint:
        runner = self.runner
        return find_or_train(training, runner.store, runner.device, runner.reporter)

    def _load(self, checkpoint: Checkpoint) -> Regressor:
        trained = self.entry.training.build(checkpoint)
        whole = self.entry.chain.wrap_trained(trained).eval().requires_grad_(False)
        return whole.to(self.runner.device)

    def _clean(self, regressor: Regressor) -> Scores:
        cell = self._cell(CLEAN, 0.0)
        path = cell_path(self.runner.run, cell)
        if is_complete(path):
            self.summary.found += 1
            columns = read_columns(path, read_cell(path))
            return _scores_of(columns)
        side = self.entry.data.test
        progress = self.runner.reporter.counter(f"scoring {self.entry.shown}")
        scores, columns, seconds = clean_scores(regressor, side, self.conditions, progress)
        draws = self.score_draws
        cost = {"forwards": draws, "backwards": 0, "queries": None, "seconds": round(seconds, 3)}
        self._write(cell, CLEAN, Outcome(columns), scores, cost)
        return scores

    def _attack(self, attack: Named[Attack], regressor: Regressor, clean: Scores) -> None:
        try:
            sources = self._sources(attack.component)
            attacked = self._describe(attack, {k: v[0] for k, v in sources.items()}, regressor)
        except UsageError:
            raise
        except Exception as e:
            self._fail(attack, self.plan.eps_255, e, self._describe(attack, {}, regressor))
            return
        missing = [
            eps
            for eps in self.plan.eps_255
            if not is_complete(cell_path(self.runner.run, self._cell(attacked, eps)))
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
            self._sweep(attack, regressor, clean, facts, group, attacked)

    def _sweep(
        self,
        attack: Named[Attack],
        regressor: Regressor,
        clean: Scores,
        facts: Facts,
        eps_255: Sequence[float],
        attacked: dict[str, Any],
    ) -> None:
        side = self.entry.data.test
        radii = ", ".join(f"{e:g}" for e in eps_255)
        task = f"{attack.label} at {radii}/255 against {self.entry.shown}"
        try:
            ready = attack.component.prepare(facts)
            sweep = Sweep(ready, regressor, side, clean, self.conditions)
            if ready.needs_fit:
                batches = fitting_batches(self.entry.data.train, self.conditions)
                noise = self.entry.data.train.noise(self.entry.seed, [], "fit")
                sweep.attack = ready.fit(sweep.target, batches, eps_255[0] / 255, noise)
            sweep.self_check()
        except Exception as e:
            self._fail(attack, eps_255, e, attacked)
            return
        outcomes = sweep.run(eps_255, self.runner.reporter.counter(task))
        for eps, outcome in outcomes.items():
            if outcome.error is not None:
                self._fail(attack, [eps], outcome.error, attacked)
            else:
                cell = self._cell(attacked, eps)
                self._write(cell, attack.label, outcome, clean, sweep.cost(eps_255), attack)

    def _sources(self, attack: Attack) -> dict[str, tuple[str, Regressor]]:
        """Train or find the defenses that a transfer attack starts from."""
        found: dict[str, tuple[str, Regressor]] = {}
        for spec in attack.sources():
            chain = Chain.parse(spec)
            training = self.entry.sibling(chain)
            checkpoint = self._train(training)
            source = chain.wrap_trained(training.build(checkpoint)).eval().requires_grad_(False)
            source = source.to(self.runner.device)
            draws = self.plan.benchmark.attack_draws
            whole = Expectation(source, draws=draws) if source.stochastic else source
            found[spec] = (checkpoint.card()["weights_sha256"], whole)
        return found

    def _describe(
        self, attack: Named[Attack], sources: dict[str, str], regressor: Regressor
    ) -> dict[str, Any]:
        return {
            "spec": attack.canonical,
            "components": [attack.identity],
            "sources": sources,
            "draws": self.plan.benchmark.attack_draws if regressor.stochastic else None,
        }

    def _cell(self, attacked: dict[str, Any] | str, eps_255: float) -> dict[str, Any]:
        if isinstance(attacked, str):
            attacked = {"spec": attacked, "components": [], "sources": {}, "draws": None}
        return cell_of(self.entry, self.weights, attacked, eps_255, self.score_draws)

    def _about(self, label: str, attack: Named[Attack] | None) -> dict[str, Any]:
        entry, info = self.entry, self.entry.data.named.component
        return {
            "dataset_title": info.title,
            "proxy_labels": info.proxy_labels,
            "split_origin": entry.data.split.origin,
            "defense": entry.chain.label,
            "attack": label,
            "backbone": entry.training.backbone.name,
            "backbone_weights": entry.training.backbone.provenance()["weights"],
            "recipe": entry.recipe_name,
            "recipe_key": self.recipe_key,
            "reference": entry.reference,
            "threat_model": attack.component.threat_model if attack else "none",
            "access": attack.component.access if attack else "none",
            "stochastic": self.score_draws > 1,
        }

    def _write(
        self,
        cell: dict[str, Any],
        label: str,
        outcome: Outcome,
        clean: Scores,
        cost: dict[str, Any],
        attack: Named[Attack] | None = None,
    ) -> None:
        side, columns = self.entry.data.test, outcome.columns
        record = CellRecord(
            cell=cell,
            about=self._about(label, attack),
            metrics=self._metrics(columns, ""),
            metrics_8bit=self._metrics(columns, "_8bit"),
            distance=columns.summary(),
            cost=cost,
            environment=environment(self.runner.device),
        )
        first: Columns = {
            "image_id": list(side.image_ids),
            "mos": side.mos.tolist(),
            "scene": [r.scene for r in side.rows],
            "clean_score": clean.scores.tolist(),
            "clean_logit": clean.logits.tolist(),
        }
        write_cell(self.runner.run, record, columns.table(first))
        self.summary.computed += 1

    def _metrics(self, columns: CellColumns, suffix: str) -> dict[str, Any] | None:
        side = self.entry.data.test
        scores, logits = columns.array(f"score{suffix}"), columns.array(f"logit{suffix}")
        if not np.isfinite(scores).all():
            return None
        mos = np.asarray([r.mos for r in side.rows])
        return agreement(mos, scores, logits, [r.scene for r in side.rows]).to_json()

    def _fail(
        self,
        attack: Named[Attack] | None,
        eps_255: Sequence[float],
        error: Exception,
        attacked: dict[str, Any] | str,
    ) -> None:
        message = str(error) if isinstance(error, CellError) else f"{type(error).__name__}: {error}"
        message = " ".join(message.split())
        label = attack.label if attack else CLEAN
        for eps in eps_255:
            record = CellRecord(
                cell=self._cell(attacked, eps),
                about=self._about(label, attack),
                status="failed",
                error=message,
                environment=environment(self.runner.device),
            )
            write_cell(self.runner.run, record, None)
            line = f"{label} at {eps:g}/255 against {self.entry.shown} failed: {message}"
            self.summary.failures.append(line)
            self.runner.reporter.warn(line)

    def _fail_everything(self, error: Exception) -> None:
        """Without a checkpoint or clean scores there is nothing to attack."""
        if not hasattr(self, "weights"):
            self.weights, self.recipe_key = None, ""
        self.score_draws = 1
        self._fail(None, [0.0], error, CLEAN)
        for attack in self.plan.attacks:
            attacked = {"spec": attack.canonical, "components": [attack.identity]}
            attacked |= {"sources": {}, "draws": None}
            self._fail(attack, self.plan.eps_255, error, attacked)


def _scores_of(columns: Columns) -> Scores:
    return Scores(torch.tensor(columns["clean_score"]), torch.tensor(columns["clean_logit"]))
