"""Runs an audit: trains what is missing, attacks, probes, and puts the verdicts together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iqabench.audit.lawful import Conduct, look
from iqabench.audit.probes import Probes, probe
from iqabench.audit.reading import Reader
from iqabench.audit.reasons import Reason, reasons
from iqabench.audit.verdict import Evidence, Verdict, judge
from iqabench.chains import Chain
from iqabench.containment import shielded
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Expectation, Regressor
from iqabench.errors import ResultsError, UsageError, one_line
from iqabench.leaderboard.draws import Place, draws_of
from iqabench.leaderboard.load import Board, Group, load_board
from iqabench.leaderboard.load import Entry as Row
from iqabench.planning import Entry, Plan, attack
from iqabench.running import Runner
from iqabench.sides import Side
from iqabench.suites import Suite, find_member

PROBED = 32
"""Images whose gradient is probed."""


@dataclass(frozen=True, eq=False)
class Finding:
    """The verdict at one eps.

    Attributes:
        eps_255: The radius, in grey levels.
        verdict: The word, and why.
        evidence: What it rests on.
        reasons: T1 to T11.
    """

    eps_255: float
    verdict: Verdict
    evidence: Evidence
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, eq=False)
class Audit:
    """What came of one defense.

    Attributes:
        label: The defense, as it was asked for.
        dataset: The data set.
        seed: Of its training and of the attacks.
        attacked: The defense as it was attacked: with wrappers where it had to be made lawful.
        group: Rows on the attacked images.
        whole: Rows on every test image, without attack.
        row: Its row among the attacked; None if it could not be attacked.
        sibling: Row of the undefended network; None likewise.
        conduct: How it scores the same image again.
        probes: What its gradient is worth; None if it could not be probed.
        findings: One per eps.
        error: Why there are none.
    """

    label: str
    dataset: str
    seed: int
    attacked: str
    group: Group | None = None
    whole: Group | None = None
    row: Row | None = None
    sibling: Row | None = None
    conduct: Conduct | None = None
    probes: Probes | None = None
    findings: tuple[Finding, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Auditor:
    """Audits the defenses of a plan.

    Attributes:
        runner: Computes cells; its run directory is locked by the caller.
        suite: What they are attacked with.
    """

    runner: Runner
    suite: Suite

    def audits(self, plan: Plan, whole: Plan) -> Iterator[Audit]:
        """Yield the audit of every defense of a plan but the references.

        Args:
            plan: Defenses with their reference, on data sets; its attacks are the suite's.
            whole: The same defenses on every test image, without attacks: whether there is a
                signal to defend is asked of more images than an attack can be paid for.
        """
        entries = [entry for entry in plan.entries if not entry.reference]
        for entry, clean in zip(entries, whole.entries, strict=True):
            pair = replace(plan, entries=(_sibling(plan, entry), entry))
            yield self._audit(pair, entry, replace(whole, entries=(clean,)))

    def _audit(self, plan: Plan, entry: Entry, whole: Plan) -> Audit:
        label = entry.chain.label
        nothing = Audit(label, entry.data.name, entry.seed, label)
        try:
            conduct, probes = self._look(plan, entry)
        except UsageError:
            raise
        except Exception as e:  # a plugin may raise anything; only its own audit suffers
            return replace(nothing, error=one_line(e))
        lawful, [clean] = entry, whole.entries
        if conduct.wrappers:
            chain = Chain.parse("+".join([*conduct.wrappers, entry.chain.canonical]))
            lawful, clean = replace(entry, chain=chain), replace(clean, chain=chain)
        if conduct.batch is not None and conduct.wrappers:  # as it is given, it can be attacked
            plain = attack(self.suite.roles["plain"])
            self.runner.execute(replace(plan, entries=(entry,), attacks=(plain,)))
        self.runner.execute(replace(plan, entries=(plan.entries[0], lawful)))
        self.runner.execute(replace(whole, entries=(clean,)))
        found = replace(nothing, attacked=lawful.chain.label, conduct=conduct, probes=probes)
        try:
            return self._read(found, plan, entry, lawful, clean)
        except ResultsError as e:
            return replace(found, error=str(e))

    def _look(self, plan: Plan, entry: Entry) -> tuple[Conduct, Probes]:
        """Return how the defense scores, and what its gradient is worth as it is given."""
        models, device = self.runner.models(plan), self.runner.device
        checkpoint = models.checkpoint(entry.training)
        regressor = models.defended(entry.chain, entry.training, checkpoint)
        side = entry.data.test
        with shielded():  # not contained: draws that it does not declare are what is looked for
            conduct = look(regressor, side, entry.seed, device)
        real: Regressor = regressor
        if regressor.stochastic:
            real = Expectation(regressor, draws=plan.benchmark.attack_draws)
        batches = _first(side, PROBED, plan.benchmark.batch_size, entry.seed, device)
        progress = self.runner.reporter.counter(f"looking at the gradient of {entry.shown}")
        with shielded():
            return conduct, probe(real, batches, progress)

    def _read(self, found: Audit, plan: Plan, entry: Entry, lawful: Entry, clean: Entry) -> Audit:
        """Add rows and findings from the result files."""
        board = load_board(self.runner.run)
        group, whole = (_group(board, one) for one in (lawful, clean))
        row, sibling = _row(group, lawful), _row(group, plan.entries[0])
        naive = self._whole_row(group, entry, plan.eps_255) or row
        signal = draws_of(whole).srocc([place := Place(_row(whole, clean))])[place]
        reader = Reader(group, self.suite, row, naive, sibling)
        assert found.probes is not None
        findings = []
        for eps in plan.eps_255:
            evidence = reader.evidence(eps, signal)
            why = reasons(reader, plan.eps_255, eps, found.probes)
            findings.append(Finding(eps, judge(evidence), evidence, tuple(why)))
        known = replace(found, group=group, whole=whole, row=row, sibling=sibling)
        return replace(known, findings=tuple(findings))

    def _whole_row(self, group: Group, entry: Entry, eps_255: Sequence[float]) -> Row | None:
        """Return the row of the defense as it is given, if plain PGD met it at each eps."""
        plain = find_member(self.suite.roles["plain"], group.attacks)
        try:
            row = _row(group, entry)
        except ResultsError:
            return None
        cells = [row.attacked.get((plain, eps)) for eps in eps_255] if plain else [None]
        return row if all(cell is not None and cell.is_done for cell in cells) else None


def _group(board: Board, entry: Entry) -> Group:
    """Return the rows on the images of an entry.

    Raises:
        ResultsError: There are none.
    """
    data = entry.data
    for group in board.groups:
        if group.split == data.split.fingerprint and group.dataset["name"] == data.name:
            return group
    raise ResultsError(f"{entry.chain.label}: no results, see the failed cells")


def _row(group: Group, entry: Entry) -> Row:
    """Return the row of an entry.

    Raises:
        ResultsError: Not even its clean pass succeeded.
    """
    for row in group.entries:
        same = row.identity["defense"]["spec"] == entry.chain.canonical
        if same and row.seed == entry.seed and row.clean is not None and row.clean.is_done:
            return row
    raise ResultsError(f"{entry.chain.label}: no results, see the failed cells")


def _sibling(plan: Plan, entry: Entry) -> Entry:
    """Return the reference on the same data, of the same seed if there is one."""
    found = [e for e in plan.entries if e.reference and e.data.name == entry.data.name]
    return min(found, key=lambda e: e.seed != entry.seed)


def _first(
    side: Side, count: int, size: int, seed: int, device: torch.device
) -> list[tuple[Tensor, Noise]]:
    """Return the first images of a side with their noise, in batches."""
    found: list[tuple[Tensor, Noise]] = []
    seen = 0
    for images, _, numbers in side.batches(size):
        take: Sequence[int] = numbers[: count - seen]
        found.append((images[: len(take)].to(device), side.noise(seed, take, "probe")))
        seen += len(take)
        if seen >= count:
            break
    return found
