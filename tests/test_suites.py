"""Named sets of attacks: found, expanded, and never weaker than a member."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leaderboard_runs import FakeRow
from support import grid_images, noise_for
from test_attacks_search import Rough

from iqabench.api import Facts
from iqabench.errors import SpecError
from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.rank import per_image_worst, standings
from iqabench.leaderboard.tables import standing_remarks
from iqabench.metrics import srocc
from iqabench.planning import attack
from iqabench.suites import expand, find, suites

SHORT = {"steps": 5, "samples": 2}


def test_the_standard_suite_is_found_with_and_without_its_version() -> None:
    assert find("standard") is find("standard-v1") is suites()["standard-v1"]
    assert find("fgsm") is None
    assert find("no-such-attack-v1") is None
    members = suites()["standard-v1"].members
    assert list(expand(["fgsm", "standard", "pgd"])) == ["fgsm", *members, "pgd"]


@pytest.mark.parametrize(
    ("text", "word"), [("standard:steps=3", "no parameters"), ("standard-v99", "standard-v1")]
)
def test_what_a_suite_is_not_is_said(text: str, word: str) -> None:
    with pytest.raises(SpecError, match=word):
        find(text)


@pytest.mark.parametrize("name", suites())
def test_every_member_is_an_attack_that_is_installed_and_no_two_are_one(name: str) -> None:
    members = [attack(text) for text in suites()[name].members]
    assert len({member.canonical for member in members}) == len(members) > 1


def damage(mos: Any, clean: Any, attacked: Any) -> Any:
    return -np.where(np.asarray(mos) > 0.5, 1, -1) * (np.asarray(attacked) - np.asarray(clean))


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 10_000))
def test_the_standard_suite_is_never_weaker_than_a_member(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """On random small networks, with the members shortened."""
    run = tmp_path_factory.mktemp("run")
    images = grid_images(8, seed=seed)
    noise, mos = noise_for(images), torch.linspace(0.06, 0.94, 8)
    network, source = Rough(seed), Rough(seed + 1)
    logits = network.logit(images).tolist()
    facts = Facts(noise.image_ids, mos.tolist(), logits, {"resnet": source})
    row = FakeRow(run, mos=tuple(mos.tolist()), clean=tuple(logits))
    row.write()
    found = {}
    for text in suites()["standard-v1"].members:
        named = attack(text)
        whole = named.component.parameters()
        ready = type(named.component)(**whole | {k: v for k, v in SHORT.items() if k in whole})
        moved = ready.prepare(facts).perturb(network, images, mos, 4 / 255, noise)
        found[named.canonical] = network.logit(moved).tolist()
        row.write(named.canonical, 4.0, found[named.canonical])
    [group] = load_board(run).groups
    [entry] = group.entries
    cells = [cell for cell in entry.cells if cell.attack in found]
    assert len(cells) == len(found)
    worst = per_image_worst(cells)
    by_member = {a: damage(mos, logits, values) for a, values in found.items()}
    most = np.max(list(by_member.values()), axis=0)
    reached = np.asarray(logits) - np.where(mos.numpy() > 0.5, 1, -1) * most
    assert worst.srocc.value == pytest.approx(srocc(mos.double().numpy(), reached))
    assert all((most >= one - 1e-12).all() for one in by_member.values())
    [standing] = standings(group)
    lowest = standing.rows[0].lowest
    assert lowest is not None
    values = [srocc(mos.double().numpy(), np.asarray(values)) for values in found.values()]
    assert lowest.srocc.value == pytest.approx(min(v for v in [*values, worst.srocc.value] if v))


def test_the_leaderboard_says_where_a_whole_suite_was_met(tmp_path: Path) -> None:
    row = FakeRow(tmp_path)
    row.write()
    *most, last = [attack(text) for text in suites()["standard-v1"].members]
    for named in most:
        row.write(named.canonical, 1.0, label=named.label)

    def said() -> bool:
        [group] = load_board(tmp_path).groups
        [standing] = standings(group)
        return any("All of standard-v1" in r for r in standing_remarks(group, standing))

    assert not said()
    row.write(last.canonical, 1.0, label=last.label)
    assert said()
