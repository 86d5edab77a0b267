from __future__ import annotations

import re
import sys
from collections import Counter
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from iqabench.errors import ConfigError, UnknownNameError
from iqabench.published.paper import Paper, RecipeFacts
from iqabench.published.patterns import ANY, check_pattern, match
from iqabench.published.reading import load_paper, names, read_paper
from iqabench.recipes import Recipe
from iqabench.registry import ATTACKS, DATASETS, DEFENSES, Registry
from iqabench.specs import parse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
METHODS = ROOT.parent / "shared" / "METHODS.md"
COUNTS = {"1": 84, "2": 84, "4": 84, "5": 36, "6": 12}
MINIMAL = """
schema: 1
name: mine
title: A paper
source: https://example.org
metrics: {SRCC: srocc, RMSE: rmse}
datasets: {A: {dataset: live}, B: {dataset: koniq, split: official}}
attacks: {none: {attack: clean}, big: {attack: "pgd:*", eps_255: 0.50}}
methods: {Ours: {defense: cprl}, Base: {defense: resnet, backbone: resnet50}}
tables:
  - table: A.1
    attack: none
    metrics: [SRCC, RMSE]
    cells:
      Ours: {A: [.90, 0.1], B: [-.5, null]}
      Base: {A: [1, 12.0]}
"""


@pytest.fixture(scope="module")
def paper() -> Paper:
    return load_paper("cprl-paper")


def values(paper: Paper) -> dict[tuple[str, str, str, str, str], str]:
    return {
        (place.table.table, place.method, place.dataset, place.attack, metric): f"{value:f}"
        for place in paper.places()
        for metric, value in place.values.items()
    }


def test_every_cell_of_the_paper_is_there_once(paper: Paper) -> None:
    found = values(paper)
    assert len(found) == 300
    assert Counter(key[0] for key in found) == COUNTS
    assert {key[4] for key in found} == {"SROCC", "PLCC", "MSE"}
    for table, rows, columns in (("1", 7, 4), ("2", 7, 4), ("4", 7, 4), ("5", 6, 2), ("6", 2, 2)):
        places = [place for place in paper.places() if place.table.table == table]
        assert len({place.method for place in places}) == rows
        assert len({(place.dataset, place.attack) for place in places}) == columns


def test_every_published_value_has_four_digits_and_a_possible_size(paper: Paper) -> None:
    for (*_, metric), text in values(paper).items():
        assert re.fullmatch(r"-?0\.\d{4}", text)
        assert (0 < float(text) < 0.25) if metric == "MSE" else (-0.5 < float(text) < 0.96)


@pytest.mark.shared
@pytest.mark.skipif(not METHODS.is_file(), reason="the paper's numbers are in ../shared/METHODS.md")
def test_every_value_is_one_of_the_papers(paper: Paper) -> None:
    """Read METHODS section 5 a second time, in its own notation."""
    section = re.search(r"\n## 5\. .*?\nRed flags", METHODS.read_text(), re.DOTALL)
    assert section is not None
    assert values(paper) == dict(_main_tables(section[0])) | dict(_small_tables(section[0]))


Cells = list[tuple[tuple[str, str, str, str, str], str]]


def _triples(text: str) -> list[list[str]]:
    plain = text.replace("\N{MINUS SIGN}", "-")
    numbers = re.findall(r"(-?\.\d+)/(-?\.\d+)/(-?\.\d+)", plain)
    return [[n.replace(".", "0.", 1) for n in three] for three in numbers]


def _main_tables(section: str) -> Cells:
    found: Cells = []
    attacks = {"1": "FGSM", "2": "PGD", "4": "clean"}
    table = ""
    for line in section.split("Table 5 (LIVE")[0].splitlines():
        if heading := re.search(r"\(Table (\d)\)", line):
            table = heading[1]
        threes = _triples(line)
        if len(threes) != 4:
            assert not threes
            continue
        for data, three in zip(("VCL", "LIVE", "LIVE-C", "KonIQ"), threes, strict=True):
            for metric, number in zip(("SROCC", "PLCC", "MSE"), three, strict=True):
                found.append(((table, line.split()[0], data, attacks[table], metric), number))
    return found


def _small_tables(section: str) -> Cells:
    found: Cells = []
    five = re.search(r"Table 5 .*", section)
    six = re.search(r"Table 6 .*", section)
    assert five is not None
    assert six is not None
    parts = re.findall(r"(0\.\d) ([^|]*)\|([^·]*)", five[0])
    rows = [("5", f"b = {b}", ("clean", "attack"), _triples(c + a)) for b, c, a in parts]
    for name, text in zip(("CA", "CA+PNS"), six[0].split(" · "), strict=True):
        assert name in text
        rows.append(("6", name, ("clean", "FGSM"), _triples(text)))
    for table, method, attacks, threes in rows:
        for attack, three in zip(attacks, threes, strict=True):
            for metric, number in zip(("SROCC", "PLCC", "MSE"), three, strict=True):
                found.append(((table, method, "LIVE", attack, metric), number))
    return found


@pytest.mark.parametrize(
    ("registry", "kind"), [(DEFENSES, "methods"), (ATTACKS, "attacks"), (DATASETS, "datasets")]
)
def test_what_is_installed_has_the_parameters_that_shipped_papers_name(
    registry: Registry[Any],
    kind: str,
) -> None:
    checked = 0
    for paper in map(load_paper, names()):
        for entry in getattr(paper, kind).values():
            found = getattr(entry, {"methods": "defense"}.get(kind, kind[:-1]))
            for pattern in (found,) if isinstance(found, str) else found:
                checked += _check_parameters(registry, pattern)
    assert checked or kind == "datasets"  # the paper's data sets may not be installed yet


def _check_parameters(registry: Registry[Any], pattern: str) -> int:
    checked = 0
    for part in parse(pattern):
        if part.name not in registry.names():
            continue
        cls = registry.get(part.name)
        known = {f.name for f in cls.parameter_fields()}
        assert {a.key for a in part.arguments if a.key} <= known, pattern
        checked += 1
    return checked


def test_what_a_paper_can_say_about_training_are_fields_of_a_recipe() -> None:
    assert set(RecipeFacts.model_fields) <= set(Recipe.model_fields)


def test_the_shipped_files_are_package_data() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    setuptools = document["tool"]["setuptools"]
    assert "iqabench.published" in setuptools["packages"]
    assert setuptools["package-data"]["iqabench.published"] == ["*.yaml"]
    assert names() == ["cprl-paper"]
    for name in names():
        assert load_paper(name).name == name
        assert resources.files("iqabench.published").joinpath(f"{name}.yaml").is_file()


def test_numbers_keep_their_printed_digits() -> None:
    ours, other, base = read_paper(MINIMAL, "mine").places()
    assert ours.values == {"SRCC": Decimal("0.90"), "RMSE": Decimal("0.1")}
    assert str(ours.values["SRCC"]) == "0.90"
    assert other.values == {"SRCC": Decimal("-0.5")}
    assert str(base.values["RMSE"]) == "12.0"
    assert (other.dataset, other.attack, other.table.table) == ("B", "none", "A.1")


def test_a_table_says_what_differs_from_the_papers_recipe() -> None:
    text = MINIMAL.replace("tables:", "recipe: {epochs: 3, lr: 1e-3}\ntables:")
    text = text.replace("    attack: none", "    attack: none\n    recipe: {epochs: 9}")
    paper = read_paper(text, "mine")
    assert paper.recipe_of(paper.tables[0]) == RecipeFacts(epochs=9, lr=0.001)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title:", "titel:", "unknown key 'titel'. Did you mean 'title'?"),
        ("schema: 1", "schema: 2", "schema: input should be 1"),
        ("backbone: r", "backbon: r", "'methods.Base.backbon'. Did you mean 'backbone'?"),
        ("    attack: none", "    atack: none", "'tables[0].atack'. Did you mean 'attack'?"),
        ("split: official", "splt: official", "'datasets.B.splt'. Did you mean 'split'?"),
        ("tables:", "recipe: {epoch: 2}\ntables:", "'recipe.epoch'. Did you mean 'epochs'?"),
        ("      Ours:", "      Our:", "cells: unknown method 'Our'. Did you mean 'Ours'?"),
        ("B: [-", "C: [-", "tables[0].cells.Ours: unknown data set 'C'."),
        ("attack: none", "attack: nono", "tables[0].attack: unknown attack 'nono'."),
        ("metrics: [SRCC", "metrics: [SROC", "unknown metric 'SROC'. Did you mean 'SRCC'?"),
        ("SRCC: srocc", "SRCC: spearman", "metrics.SRCC: input should be 'srocc'"),
        ("[1, 12.0]", "[1]", "cells.Base.A: 1 values for 2 metrics"),
        ("[1, 12.0]", "[1.01, 12.0]", "cells.Base.A: SRCC cannot be 1.01"),
        ("[1, 12.0]", "[1, -12.0]", "cells.Base.A: RMSE cannot be -12.0"),
        ("[1, 12.0]", "[1, NaN]", "tables[0].cells.Base.A[1]: input should be a finite number"),
        ("[1, 12.0]", "[1, .nan]", "mine.yaml: tables[0].cells.Base.A[1]: input should be a valid"),
        (", eps_255: 0.50", "", "attacks.big: an attack needs eps_255"),
        ("eps_255: 0.50", "eps_255: 300", "attacks.big.eps_255"),
        ("attack: none\n", "dataset: A\n    attack: none\n", "give either attack"),
        ("      Base:", "      Ours:", "has the key 'Ours' twice"),
        ("defense: cprl", "defense: 'cprl:0.4'", "'0.4' needs its key"),
        ("defense: cprl", "defense: 'cprl:'", "a value is missing"),
        ("name: mine", "name: ../mine", "name: string should match"),
        ("schema: 1", "schema: [", "no valid YAML"),
    ],
    ids=lambda x: x[:40] if isinstance(x, str) else None,
)
def test_a_wrong_file_is_refused_in_one_line_with_the_place(
    old: str, new: str, message: str
) -> None:
    assert MINIMAL.count(old) >= 1
    with pytest.raises(ConfigError) as caught:
        read_paper(MINIMAL.replace(old, new), "mine.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("mine.yaml")
    assert "\n" not in str(caught.value)


def test_a_list_is_no_paper() -> None:
    with pytest.raises(ConfigError, match="must be a mapping of keys, found list"):
        read_paper("- 1", "mine.yaml")


def test_an_unknown_paper_gets_a_suggestion_and_a_path_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'cprl-paper'\?"):
        load_paper("crpl-paper")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_paper(str(tmp_path / "none.yaml"))
    path = tmp_path / "mine.yml"
    path.write_text(MINIMAL, encoding="utf-8-sig")
    assert load_paper(str(path)).name == "mine"


CANONICAL = "pgd:objective=reflect,restarts=1,steps=20,threshold=0.5"
LABEL = "pgd:objective=reflect,steps=20"


@pytest.mark.parametrize(
    ("pattern", "mismatches", "left_open"),
    [
        ("pgd", ["objective is reflect, not its default", "steps is 20, not its default"], []),
        ("pgd:objective=reflect,steps=20", [], []),
        ("pgd:objective=reflect,steps=2e1", [], []),
        ("pgd:objective=mse,steps=20", ["objective is reflect, not mse"], []),
        ("pgd:objective=reflect,steps=*", [], ["steps=20"]),
        ("pgd:*,objective=Reflect", [], ["restarts=1", "steps=20", "threshold=0.5"]),
        ("pgd:*,mom=1", ["mom there is none, not 1"], None),
        ("pgd:*,mom=*", [], None),
    ],
)
def test_a_pattern_wants_named_values_and_defaults_and_leaves_stars_open(
    pattern: str, mismatches: list[str], left_open: list[str] | None
) -> None:
    found = match(check_pattern(pattern), CANONICAL, LABEL)
    assert found is not None
    assert [str(m) for m in found.mismatches] == mismatches
    assert left_open is None or list(found.left_open) == left_open


@pytest.mark.parametrize("pattern", ["fgsm", f"jpeg:{ANY}+pgd:{ANY}", "acme/pgd"])
def test_other_names_and_wrappers_do_not_match(pattern: str) -> None:
    assert match(check_pattern(pattern), CANONICAL, LABEL) is None
