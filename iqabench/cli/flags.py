"""The flags that several commands share, and what a command is."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

Execute = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2; see ``argparse.ArgumentParser.error``."""
        self.exit(2, f"iqabench: {message} (see '{self.prog} --help')\n")


def command(
    commands: argparse._SubParsersAction[Parser], name: str, text: str, example: str
) -> Parser:
    """Add a command that is done by the module of its name, imported when it runs.

    Args:
        commands: Where it is added.
        name: What people write.
        text: What it does, in a line.
        example: A whole command line.
    """
    parser = commands.add_parser(
        name, help=text, description=text, epilog=f"example: {example}", allow_abbrev=False
    )
    parser.set_defaults(execute=_late(f"iqabench.cli.{name.replace('-', '_')}"))
    return parser


def _late(module: str) -> Execute:
    def execute(arguments: argparse.Namespace) -> int:
        code: int = importlib.import_module(module).execute(arguments)
        return code

    return execute


def add_conditions(parser: Parser) -> None:
    """Add what decides which networks are trained on what, and where they run."""
    parser.add_argument(
        "--defense", action="append", metavar="SPEC", help="a defense; may be repeated"
    )
    parser.add_argument(
        "--dataset", action="append", metavar="SPEC", help="a data set; may be repeated"
    )
    add_places(parser)
    parser.add_argument("--split", type=Path, metavar="FILE", help="a saved split to use again")
    parser.add_argument("--backbone", metavar="NAME", help="resnet50, mobilenet_v2, demo_net, ...")
    parser.add_argument(
        "--backbone-weights", metavar="FILE", help="imagenet, none, .pth or .safetensors"
    )
    parser.add_argument(
        "--recipe", metavar="NAME", help="how to train: paper, frozen, light, demo, ..."
    )
    parser.add_argument("--seed", metavar="LIST", help="seeds, such as 0,1,2")
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")


def add_places(parser: Parser) -> None:
    """Add where settings and data are found and kept."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="benchmark file (default: benchmark.yaml)"
    )
    parser.add_argument(
        "--data-root", type=Path, metavar="DIR", help="where data sets are (or IQABENCH_DATA)"
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="checkpoints, pixel caches, made data sets (or IQABENCH_STORE)",
    )


def add_images(parser: Parser, default: str, does: str = "attack") -> None:
    """Add how many of the test images count.

    Args:
        parser: The command.
        default: What it is where the flag is silent.
        does: What the command does to them.
    """
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help=f"{does} only N of the test images, drawn at random (default: {default})",
    )


def add_engine(parser: Parser) -> None:
    """Add where cells are computed."""
    parser.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="compute in this process, or on workers of Ray (default: %(default)s)",
    )
    parser.add_argument(
        "--address",
        metavar="ADDR",
        help="Ray cluster: host:port or auto (default: RAY_ADDRESS, else this machine)",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="at most N workers of Ray at a time"
    )
    parser.add_argument(
        "--gpu-share",
        type=float,
        metavar="X",
        help="part of a GPU that a worker of Ray gets, if there are GPUs (default: 1)",
    )


def add_batch_size(parser: Parser) -> None:
    """Add how many images go through a network together."""
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="images per pass; changes no number"
    )


def add_json(parser: Parser) -> None:
    """Add the choice of a document for machines."""
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
