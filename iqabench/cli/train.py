"""``iqabench train``: checkpoints without attacks."""

from __future__ import annotations

import argparse
import sys

from iqabench.cli.console import ConsoleReporter, print_json
from iqabench.cli.setup import benchmark_of, device_of, home_of
from iqabench.planning import choose_datasets, make_plan
from iqabench.sides import decode
from iqabench.training import find_or_train


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; the reference is trained only if it is asked for."""
    reporter = ConsoleReporter()
    benchmark = benchmark_of(arguments, reporter).model_copy(update={"reference": None})
    device = device_of(benchmark.device)
    home = home_of(arguments, benchmark, reporter)
    chosen = choose_datasets(benchmark, arguments.dataset or [], home)
    plan = make_plan(benchmark, chosen, home, split=arguments.split)
    trained = []
    try:
        plan.fetch_weights(home.store)
        decode(plan.sides(attacked=False), reporter)
        for entry in plan.entries:
            checkpoint = find_or_train(entry.training, home.store, device, reporter)
            card = checkpoint.card()
            trained.append(
                {
                    "defense": entry.training.chain.label,
                    "dataset": entry.data.name,
                    "seed": entry.seed,
                    "recipe": entry.recipe_name,
                    "folder": str(checkpoint.folder),
                    "weights_sha256": card["weights_sha256"],
                    "last_loss": card["losses"][-1],
                    "seconds": card["seconds"],
                }
            )
    finally:
        reporter.close()
    if arguments.json:
        print_json(trained)
    else:
        for row in trained:
            sys.stdout.write(
                f"{row['defense']} on {row['dataset']}, seed {row['seed']}: loss"
                f" {row['last_loss']:.4f}, {row['seconds']:.0f} s, {row['folder']}\n"
            )
    return 0
