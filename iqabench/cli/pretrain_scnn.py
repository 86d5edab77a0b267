"""``iqabench pretrain-scnn``: weights of DBCNN's second branch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from iqabench.cli.console import ConsoleReporter, print_json
from iqabench.cli.setup import device_of, set_threads, store_of
from iqabench.pretraining.output import Output
from iqabench.pretraining.scnn import Pretraining, Settings, pretrain
from iqabench.pretraining.sources import find_sources


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; a finished file of the same request is found and left as it is."""
    reporter = ConsoleReporter()
    settings = Settings(
        epochs=arguments.epochs,
        resize=arguments.resize,
        crop=arguments.crop,
        batch_size=arguments.batch_size,
        lr=arguments.lr,
        final_lr=arguments.final_lr,
        seed=arguments.seed,
    )
    settings.check()
    set_threads(arguments.threads)
    device = device_of(arguments.device)
    Output(arguments.out, {}).check()
    try:
        sources = find_sources(arguments.images, seed=settings.seed, reporter=reporter)
        request = Pretraining(settings, sources)
        output = Output(arguments.out, request.description())
        about = output.finished()
        if about is not None:
            reporter.say(f"{output.path} is there, finished, of this very request: nothing to do")
        else:
            about = pretrain(request, output, store_of(arguments), device, reporter)
    finally:
        reporter.close()
    if arguments.json:
        print_json({"out": str(output.path), **about})
    else:
        sys.stdout.write(_text(output.path, about))
    return 0


def _text(path: Path, about: dict[str, Any]) -> str:
    held = about["held_out"]
    return (
        f"{path}: S-CNN of {about['trained_on']} images, last loss {about['losses'][-1]:.4f}\n"
        f"  of {held['distorted_images']} distorted images of {held['images']} others it names"
        f" {held['class_accuracy']:.1%} right among {len(about['classes'])} classes, and the type"
        f" of {held['type_accuracy']:.1%} among {len(held['type_accuracy_of'])}\n"
        f"  use it: iqabench run --defense dbcnn:scnn={path}\n"
    )
