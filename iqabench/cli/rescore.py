"""``iqabench rescore RUN_DIR``: kept images, scored by other defenses."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from iqabench.cli.console import ConsoleReporter, data_console, print_json
from iqabench.cli.setup import device_of, flags_of, home_of, request_of
from iqabench.config import load_benchmark
from iqabench.files import json_text, write_set
from iqabench.leaderboard.tables import field_text, shown
from iqabench.metrics import METRICS, Estimate
from iqabench.models import Models
from iqabench.planning import make_plan
from iqabench.rescoring import Rescored, check_fits, find_kept, rescore
from iqabench.seeding import exact_kernels
from iqabench.sides import decode

SCHEMA = 1
"""Raise it whenever a field of ``rescored.json`` changes its meaning."""
NAMES = ("dataset", "made_on", "made_on_seed", "attack", "eps_255", "scored_by", "scored_by_seed")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    run: Path = arguments.run
    kept = find_kept(run)
    reporter = ConsoleReporter()
    base = None if arguments.config else request_of(run)
    flags = flags_of(arguments)
    if not arguments.defense:  # everybody on everybody's images
        flags["defenses"] = list(dict.fromkeys(k.record.cell["defense"]["spec"] for k in kept))
    benchmark = load_benchmark(arguments.config, flags, base).model_copy(
        update={"reference": None, "attacks": [], "images": None}
    )
    device = device_of(benchmark.device)
    home = home_of(arguments, benchmark, reporter)
    datasets = list(dict.fromkeys(one.dataset for one in kept))
    plan = make_plan(benchmark, datasets, home, split=arguments.split)
    check_fits(kept, plan)
    models = Models(home.store, device, reporter, benchmark.attack_draws, benchmark.speed)
    try:
        plan.fetch_weights(home.store)
        if not all(e.training.checkpoint(home.store).exists for e in plan.entries):
            decode(plan.sides(attacked=False), reporter)
        with exact_kernels():
            found = list(rescore(kept, plan, models, reporter))
    finally:
        reporter.close()
    lines = [_line(one) for one in found]
    document = {"schema": SCHEMA, "lines": lines}
    out: Path = arguments.out or run
    paths = [out / name for name in ("rescored.csv", "rescored-images.csv", "rescored.json")]
    texts = (_csv(lines), _images_csv(found), json_text(document))
    write_set({path: text.encode() for path, text in zip(paths, texts, strict=True)})
    if arguments.json:
        print_json(document)
    else:
        _print(lines, paths)
    return 0


def _names(one: Rescored) -> dict[str, Any]:
    about, cell = one.kept.record.about, one.kept.record.cell
    made = (one.kept.dataset, about["defense"], cell["seed"], about["attack"], cell["eps_255"])
    return dict(zip(NAMES, (*made, one.entry.chain.label, one.entry.seed), strict=True))


def _line(one: Rescored) -> dict[str, Any]:
    return {
        **_names(one),
        "proxy_labels": one.kept.record.about["proxy_labels"],
        "own": one.is_own,
        "clean": one.agreement(one.clean),
        "attacked": one.agreement(one.attacked),
        "key": one.kept.record.key,
        "weights_sha256": one.weights_sha256,
    }


def _csv(lines: Sequence[dict[str, Any]]) -> str:
    parts = [(kind, name) for kind in ("clean", "attacked") for name in METRICS]
    ends = [
        (kind, name, end, f"{kind}_{name}" + ("" if end == "value" else f"_{end}"))
        for kind, name in parts
        for end in ("value", "low", "high")
    ]
    header = (*NAMES, "own", "n", "units", *(column for *_, column in ends), "key")
    rows = [
        [
            *(line[name] for name in (*NAMES, "own")),
            line["attacked"]["n"],
            line["attacked"]["units"],
            *(line[kind][name][end] for kind, name, end, _ in ends),
            line["key"],
        ]
        for line in lines
    ]
    return _table([header, *rows])


def _images_csv(found: Sequence[Rescored]) -> str:
    header = (*NAMES, "image_id", "mos", "clean_score", "score")
    rows = []
    for one in found:
        line = _names(one).values()
        scores = zip(one.clean.scores.tolist(), one.attacked.scores.tolist(), strict=True)
        for image_id, mos, (clean, attacked) in zip(
            one.kept.image_ids, one.kept.mos.tolist(), scores, strict=True
        ):
            rows.append([*line, image_id, mos, clean, attacked])
    return _table([header, *rows])


def _table(rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([field_text(value) for value in row] for row in rows)
    return out.getvalue()


def _print(lines: Sequence[dict[str, Any]], paths: Sequence[Path]) -> None:
    console = data_console()
    sets = dict.fromkeys((n["dataset"], n["attack"], n["eps_255"]) for n in lines)
    for dataset, attack, eps in sets:
        ours = [
            n for n in lines if (n["dataset"], n["attack"], n["eps_255"]) == (dataset, attack, eps)
        ]
        title = f"{dataset}: SROCC under {attack} at {eps:g}/255"
        proxy = " (proxy labels)" if ours[0]["proxy_labels"] else ""
        console.print(Text(title + proxy, style="bold"))
        console.print(_matrix(ours))
        count = sorted({line["attacked"]["n"] for line in ours})
        console.print(f"n = {', '.join(map(str, count))} kept images\n", markup=False)
    console.print(
        "".join(f"wrote {path}\n" for path in paths), markup=False, soft_wrap=True, end=""
    )


def _matrix(lines: Sequence[dict[str, Any]]) -> Table:
    """Return images in columns (what they were made on), defenses that score them in rows."""
    table = Table()
    table.add_column("scored by", overflow="fold")
    table.add_column("clean", justify="right")
    made = list(dict.fromkeys(_name(line, "made_on") for line in lines))
    for name in made:
        table.add_column(f"made on {name}", justify="right", overflow="fold")
    for scorer in dict.fromkeys(_name(line, "scored_by") for line in lines):
        ours = {_name(n, "made_on"): n for n in lines if _name(n, "scored_by") == scorer}
        first = next(iter(ours.values()))
        table.add_row(
            Text(scorer),
            shown(Estimate(**first["clean"]["srocc"]), interval=False),
            *(_field(ours.get(name)) for name in made),
        )
    return table


def _field(line: dict[str, Any] | None) -> Text:
    if line is None:
        return Text("-")
    text = shown(Estimate(**line["attacked"]["srocc"])).replace(" ", "\n", 1)
    return Text(text, style="bold" if line["own"] else "")


def _name(line: dict[str, Any], kind: str) -> str:
    seed = line[f"{kind}_seed"]
    return f"{line[kind]}, seed {seed}" if seed else str(line[kind])
