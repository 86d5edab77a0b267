"""Computes the cells of one entry of a plan: its checkpoint, clean pass, and attacks."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from iqabench.clean import clean_scores
from iqabench.conditions import Conditions
from iqabench.containment import contained
from iqabench.contracts.attack import Attack
from iqabench.contracts.objective import Facts
from iqabench.contracts.regressor import Regressor
from iqabench.errors import CellError, UsageError, VoidLookError, one_line, quoted
from iqabench.grouping import groups
from iqabench.keeping import Keeper, can_keep
from iqabench.looking import LookingSweep, can_look
from iqabench.planning import Entry, Plan
from iqabench.records import NOTHING, Attacked, Recorder
from iqabench.registry import Named
from iqabench.results import CLEAN, read_cell, read_columns
from iqabench.routes import routes
from iqabench.scoring import Scores
from iqabench.steps import Begun, Settled, Step
from iqabench.sweeping import Outcome, Sweep
from iqabench.timeouts import within
from iqabench.undisturbed import Subject

if TYPE_CHECKING:
    from iqabench.running import Runner


@dataclass(frozen=True)
class _Due:
    """What is asked of one attack.

    Attributes:
        attack: The attack.
        attacked: How its cells name it.
        sources: Trained regressors of other defenses, by the spec the attack asked for.
        found: Radii whose cells are there, in grey levels.
        missing: The others, in groups that are computed together.
    """

    attack: Named[Attack]
    attacked: Attacked
    sources: Mapping[str, Regressor]
    found: Sequence[float]
    missing: Sequence[tuple[float, ...]]


@dataclass(frozen=True)
class _Swept:
    """A group of radii that was attacked, and is not recorded yet."""

    sweep: Sweep
    outcomes: dict[float, Outcome]

    @property
    def broke(self) -> bool:
        """Whether radii failed by one and the same error, whichever of them it came from."""
        errors = [id(one.error) for one in self.outcomes.values() if one.error is not None]
        return len(set(errors)) < len(errors)


def _error_of(result: _Swept | Exception) -> Exception | None:
    if isinstance(result, Exception):
        return result
    return next((one.error for one in result.outcomes.values() if one.error is not None), None)


@dataclass
class EntryRun:
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
            subject = Subject(
                lambda: within(
                    self.limit,
                    lambda: models.defended(self.entry.chain, self.entry.training, checkpoint),
                )
            )
            draws = self.plan.benchmark.score_draws if subject.stochastic else 1
            recorder = self._recorder(recipe_key, weights, draws)
            ahead = yield from self._look_ahead(subject, recorder)
            yield Begun(CLEAN, (0.0,))
            clean, found = self._clean(subject.regressor, recorder, ahead)
            subject.tolerate()
        except UsageError:
            raise
        except Exception as e:
            yield from self._fail_everything(self._recorder(recipe_key, weights, 1), e)
            return
        yield Settled(CLEAN, 0.0, found)
        for number, attack in enumerate(self.plan.attacks):
            swept = None if number else ahead
            yield from self._attack(attack, subject, clean, recorder, swept)

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

    def _clean(
        self, regressor: Regressor, recorder: Recorder, ahead: _Swept | Exception | None
    ) -> tuple[Scores, bool]:
        """Return the clean scores, and whether they were there already."""
        if recorder.finds(NOTHING, 0.0):
            path = recorder.path(NOTHING, 0.0)
            table = read_columns(path, read_cell(path))
            own = Scores(torch.tensor(table["clean_score"]), torch.tensor(table["clean_logit"]))
            return own, True
        cost: dict[str, object] = {"forwards": 0, "backwards": 0, "queries": None, "seconds": 0.0}
        looking = ahead.sweep if isinstance(ahead, _Swept) else None
        seen = looking.found if isinstance(looking, LookingSweep) else None
        if seen is not None:
            recorder.done(NOTHING, 0.0, seen.scores, seen.columns, cost)
            return seen.scores, False
        progress = self.runner.reporter.counter(f"scoring {self.entry.shown}")
        side = self.entry.data.test
        scores, columns, seconds = within(
            self.limit, lambda: clean_scores(regressor, side, self.conditions, progress)
        )
        cost |= {"forwards": recorder.score_draws, "seconds": round(seconds, 3)}
        recorder.done(NOTHING, 0.0, scores, columns, cost)
        return scores, False

    def _look_ahead(
        self, subject: Subject, recorder: Recorder
    ) -> Generator[Step, None, _Swept | Exception | None]:
        """Run the first attack if it finds the clean scores on its way.

        Returns:
            What came of it, or how it failed; None if it has to be run in its turn, after the
            clean pass.
        """
        attack = self.plan.attacks[0] if self.plan.attacks else None
        asked = self._asked(attack) if attack else []
        if not (attack and asked and can_look(attack.component, subject.regressor)):
            return None
        if recorder.finds(NOTHING, 0.0) or self.plan.benchmark.speed == "compiled":
            return None  # compiled networks have other code for gradients
        yield Begun(attack.canonical, tuple(asked))
        due = self._due(attack, subject.regressor, recorder)
        if not due.missing:
            return None
        result = self._attempt(due, subject, None, due.missing[0], recorder)
        return None if isinstance(result, VoidLookError) else result

    def _attack(
        self,
        attack: Named[Attack],
        subject: Subject,
        clean: Scores,
        recorder: Recorder,
        ahead: _Swept | Exception | None,
    ) -> Iterator[Step]:
        asked = self._asked(attack)
        if not asked:
            return
        yield Begun(attack.canonical, tuple(asked))
        try:
            due = self._due(attack, subject.regressor, recorder)
        except UsageError:
            raise
        except Exception as e:
            draws = self.plan.benchmark.attack_draws if subject.stochastic else None
            attacked = Attacked.by(attack, sources={}, draws=draws)
            yield from self._fail(recorder, attacked, asked, e)
            return
        for eps in due.found:
            yield Settled(attack.canonical, eps, found=True)
        waiting = list(due.missing)
        while waiting:
            group = waiting.pop(0)
            yield Begun(attack.canonical, group)
            result, ahead = ahead or self._attempt(due, subject, clean, group, recorder), None
            if isinstance(result, Exception):
                yield from self._fail(recorder, due.attacked, group, result)
            elif len(group) > 1 and result.broke:
                waiting[:0] = [(eps,) for eps in group]  # so that those alone fail that must
            else:
                yield from self._settle(due, result, clean, recorder)

    def _attempt(
        self,
        due: _Due,
        subject: Subject,
        clean: Scores | None,
        group: Sequence[float],
        recorder: Recorder,
    ) -> _Swept | Exception:
        """Return a group of radii attacked, or why it failed; the next one finds all as it was."""
        result: _Swept | Exception
        try:
            result = self._sweep(due, subject.regressor, clean, group, recorder)
        except Exception as e:
            result = e
        if changed := subject.changes():
            why = f"{one_line(error)}; " if (error := _error_of(result)) else ""
            names = quoted(changed, limit=3)
            result = CellError(f"{why}the attack changed the defense ({names}), which all share")
        return result

    def _asked(self, attack: Named[Attack]) -> list[float]:
        return [e for e in self.plan.eps_255 if (attack.canonical, e) not in self.leave]

    def _due(self, attack: Named[Attack], regressor: Regressor, recorder: Recorder) -> _Due:
        """Return what is asked of an attack, with its sources trained."""
        sources = self.runner.models(self.plan).sources(self.entry, attack.component)
        draws = self.plan.benchmark.attack_draws
        attacked = Attacked.by(
            attack,
            sources={spec: weights for spec, (weights, _) in sources.items()},
            draws=draws if regressor.stochastic else None,
            routes=tuple(routes(attack.component, regressor, draws)),
        )
        ids = [self.entry.data.test.image_ids[number] for number in sorted(self.kept)]
        there: dict[bool, list[float]] = {True: [], False: []}
        for eps in self._asked(attack):
            found = recorder.finds(attacked, eps, ids if can_keep(eps) else (), self.learned)
            there[found].append(eps)
        trained = {spec: source for spec, (_, source) in sources.items()}
        missing = groups(attack.component, there[False], len(self.entry.data.test))
        return _Due(attack, attacked, trained, there[True], missing)

    def _sweep(
        self,
        due: _Due,
        regressor: Regressor,
        clean: Scores | None,
        eps_255: Sequence[float],
        recorder: Recorder,
    ) -> _Swept:
        """Return a group of radii attacked; without clean scores it finds them on its way."""
        radii = ", ".join(f"{e:g}" for e in eps_255)
        task = f"{due.attacked.label} at {radii}/255 against {self.entry.shown}"
        keepers = {e: self._keeper(recorder, due.attacked, e) for e in eps_255 if can_keep(e)}
        wanted = keepers if self.kept else {}
        progress = self.runner.reporter.counter(task)

        def work() -> _Swept:
            sweep = self._prepared(due, regressor, clean)
            sweep.make_ready(self.entry.data.train, eps_255[0])
            return _Swept(sweep, sweep.run(eps_255, progress, wanted))

        return within(self.limit and self.limit * len(eps_255), work)

    def _prepared(self, due: _Due, regressor: Regressor, clean: Scores | None) -> Sweep:
        side, visibility = self.entry.data.test, self.runner.visibility
        logits = [] if clean is None else clean.logits.tolist()
        facts = Facts(side.image_ids, side.mos.tolist(), logits, due.sources)
        with contained("the attack, being prepared,"):
            prepared = due.attack.component.prepare(facts)
        if clean is None:
            return LookingSweep(prepared, regressor, side, self.conditions, visibility)
        return Sweep(prepared, regressor, side, clean, self.conditions, visibility)

    def _settle(
        self, due: _Due, swept: _Swept, clean: Scores, recorder: Recorder
    ) -> Iterator[Settled]:
        cost = swept.sweep.cost(list(swept.outcomes))
        for eps, outcome in swept.outcomes.items():
            if outcome.error is not None:
                yield from self._fail(recorder, due.attacked, [eps], outcome.error)
            else:
                images = outcome.keeper.kept if outcome.keeper else None
                recorder.done(due.attacked, eps, clean, outcome.columns, cost, images)
                yield Settled(due.attacked.spec, eps)

    def _keeper(self, recorder: Recorder, attacked: Attacked, eps_255: float) -> Keeper:
        run, side = self.runner.run, self.entry.data.test
        key = recorder.path(attacked, eps_255).stem.rpartition("-")[2]
        return Keeper(run, key, side, self.kept, eps_255, attacked.threat_model == "linf")

    def _fail(
        self, recorder: Recorder, attacked: Attacked, eps_255: Sequence[float], error: Exception
    ) -> Iterator[Settled]:
        for eps in eps_255:
            if self.kept and can_keep(eps):
                self._keeper(recorder, attacked, eps).discard()
            line = recorder.failed(attacked, eps, error)
            self.runner.reporter.warn(line)
            yield Settled(attacked.spec, eps, failure=line)

    def _fail_everything(self, recorder: Recorder, error: Exception) -> Iterator[Settled]:
        """Without a checkpoint or clean scores there is nothing to attack."""
        yield from self._fail(recorder, NOTHING, [0.0], error)
        for attack in self.plan.attacks:
            attacked = Attacked.by(attack, sources={}, draws=None)
            yield from self._fail(recorder, attacked, self._asked(attack), error)
