"""The flags of ``iqabench pretrain-scnn``."""

from __future__ import annotations

import argparse
from pathlib import Path

NUMBERS: tuple[tuple[str, type, float, str], ...] = (
    ("--epochs", int, 30, "passes over every pair of photograph and class"),
    ("--crop", int, 224, "side of the squares that the network sees, in pixels"),
    ("--resize", int, 256, "shorter side of the photographs, in pixels"),
    ("--batch-size", int, 64, "squares per step"),
    ("--lr", float, 0.1, "learning rate of the first epoch"),
    ("--final-lr", float, 1e-4, "learning rate of the last epoch"),
    ("--seed", int, 0, "seed of everything that is drawn"),
)
"""Flag, type, default and meaning."""


def add_pretraining(parser: argparse.ArgumentParser) -> None:
    """Add where photographs are, where the weights go, and how they are trained."""
    parser.add_argument(
        "--images", type=_path, required=True, metavar="DIR", help="folder of pristine photographs"
    )
    parser.add_argument(
        "--out", type=_path, required=True, metavar="FILE", help="the weights, .safetensors"
    )
    for flag, kind, default, text in NUMBERS:
        parser.add_argument(
            flag, type=kind, default=default, metavar="N", help=f"{text} (default: %(default)s)"
        )
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="where pixel caches are (or IQABENCH_STORE)"
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty path names nothing")
    return Path(text)
