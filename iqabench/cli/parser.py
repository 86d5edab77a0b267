"""Every flag of every command; what they do is imported when they run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from iqabench import __version__
from iqabench.cli.flags import (
    Parser,
    add_batch_size,
    add_conditions,
    add_engine,
    add_images,
    add_json,
    add_places,
    command,
)
from iqabench.cli.pretraining_flags import add_pretraining
from iqabench.cli.report_flags import add_report, add_rescore, add_site, add_verify


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="iqabench",
        description="Adversarial robustness of no-reference image-quality models, measured.",
        epilog="example: iqabench run --defense resnet --attack fgsm --eps 1,2,4",
    )
    parser.add_argument("--version", action="version", version=f"iqabench {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    for add in (_add_run, _add_audit, _add_train, _add_data, _add_list, _add_show, add_report):
        add(commands)
    for add in (add_site, _add_compare, _add_statistics, add_verify, add_rescore):
        add(commands)
    for add in (_add_new, _add_pretrain_scnn):
        add(commands)
    for add in (_add_show_attack, _add_landscape, _add_activations, _add_minimal_eps, _add_certify):
        add(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "run",
        "train what is not trained, attack, and write the leaderboard",
        "iqabench run --defense resnet --attack pgd:steps=10 --attack fgsm --eps 0.5,1,2,4",
    )
    add_conditions(parser)
    parser.add_argument(
        "--attack", action="append", metavar="SPEC", help="an attack; may be repeated"
    )
    parser.add_argument("--no-reference", action="store_true", help="leave the reference row out")
    parser.add_argument(
        "--visibility",
        metavar="LIST",
        help="learned distances as columns too: lpips,dists (default: none)",
    )
    parser.add_argument(
        "--cell-timeout",
        type=float,
        metavar="SECONDS",
        help="give a cell up after so long; training does not count (default: never)",
    )
    parser.add_argument(
        "--save-images",
        metavar="N",
        help="keep N attacked images of each cell, or 'all', as 8-bit PNG (default: none)",
    )
    add_engine(parser)
    _add_sweep(parser, eps="the benchmark's", images="all", out="runs/default")


def _add_sweep(parser: Parser, *, eps: str, images: str, out: str) -> None:
    """Add the flags of what attacks, with what they are where they are silent."""
    parser.add_argument(
        "--eps",
        metavar="LIST",
        help=f"L-infinity radii in grey levels: 1,2,4 is 1/255 ... (default: {eps})",
    )
    add_images(parser, images)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(out),
        metavar="DIR",
        help="run directory; a run goes on where its files end (default: %(default)s)",
    )
    add_batch_size(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the cells and an estimate of time"
    )
    add_json(parser)


def _add_train(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "train",
        "train defenses and keep their checkpoints",
        "iqabench train --defense resnet --dataset demo",
    )
    add_conditions(parser)
    add_json(parser)


def _add_data(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "data",
        "list data sets, or check the files of some",
        "iqabench data check biq2021 --data-root DIR",
    )
    parser.add_argument("action", choices=["list", "check"])
    parser.add_argument("dataset", nargs="*", metavar="SPEC", help="data sets (default: all)")
    add_places(parser)
    parser.add_argument("--split", type=Path, metavar="FILE", help="also check a saved split")
    add_json(parser)


def _add_list(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "list",
        "list installed defenses, attacks, data sets and backbones",
        "iqabench list --json",
    )
    add_json(parser)


def _add_show(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands, "show", "describe a component: paper, parameters, defaults", "iqabench show pgd"
    )
    parser.add_argument("name", metavar="NAME")
    add_json(parser)


def _add_compare(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "compare",
        "put published numbers beside those of a run, with a verdict for each",
        "iqabench compare runs/default --with cprl-paper",
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument(
        "--with",
        dest="paper",
        required=True,
        metavar="PAPER",
        help="cprl-paper, or a file of your own such as my-paper.yaml",
    )
    parser.add_argument(
        "--all", action="store_true", help="list published values without a measured one too"
    )
    parser.add_argument(
        "--json", action="store_true", help="every line as one JSON document on standard output"
    )


def _add_audit(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "audit",
        "say whether a defense's robustness is real, by attacks adapted to it",
        "iqabench audit --defense cprl --eps 1,4",
    )
    add_conditions(parser)
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the cost: 32 images, eps 2, fewer steps"
    )
    parser.add_argument(
        "--controls",
        action="store_true",
        help="audit defenses with a known answer, and count how often the audit is right",
    )
    _add_sweep(parser, eps="1,4", images="100", out="runs/audit")


def _add_statistics(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "statistics",
        "differences between rows, areas under curves, seeds combined, rank damage",
        "iqabench statistics runs/default",
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument(
        "--against",
        metavar="ROW",
        help="compare with this row of the leaderboard (default: each row's undefended reference)",
    )
    parser.add_argument(
        "--json", action="store_true", help="every number as one JSON document on standard output"
    )


def _add_new(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "new",
        "write a plugin package that works as it stands, to start from",
        "iqabench new defense my_defense",
    )
    parser.add_argument("kind", choices=["defense", "attack", "dataset"])
    parser.add_argument("name", metavar="NAME", help="what people will write: --defense NAME")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the package (default: iqabench-NAME)"
    )
    add_json(parser)


def _add_pretrain_scnn(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "pretrain-scnn",
        "make the weights of DBCNN's second branch from pristine photographs",
        "iqabench pretrain-scnn --images photographs --out scnn.safetensors",
    )
    add_pretraining(parser)
    add_json(parser)


def _add_show_attack(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "show-attack",
        "draw an image, its adversarial twin and the amplified difference (Figure 1)",
        "iqabench show-attack photo.jpg --defense resnet --attack pgd:objective=reflect --eps 2",
    )
    parser.add_argument("image", type=_file, metavar="IMAGE", help="any image file")
    _add_label(parser)
    _add_figure(parser, eps="1", meaning="L-infinity radius in grey levels")


def _add_landscape(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "landscape",
        "draw the score over the FGSM direction and a random one (Figure 4)",
        "iqabench landscape --image photo.jpg --defense resnet --defense cprl",
    )
    image = parser.add_mutually_exclusive_group(required=True)
    image.add_argument("--image", type=_file, metavar="IMAGE", help="any image file")
    image.add_argument("--image-id", metavar="ID", help="an image of the data set's test side")
    _add_label(parser)
    parser.add_argument(
        "--points",
        type=int,
        default=21,
        metavar="N",
        help="grid points along an axis, odd (default: %(default)s)",
    )
    parser.add_argument(
        "--direction-from",
        metavar="SURROGATE",
        help="take the gradient of a defense's surrogate, such as mask_removed",
    )
    _add_figure(parser, eps="4", meaning="how far both axes go, in grey levels")


def _add_activations(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "activations",
        "draw a layer's channel activations, natural against adversarial (Figure 5)",
        "iqabench activations --dataset demo --defense cprl --layer stages.3.act --eps 4",
    )
    parser.add_argument(
        "--layer", metavar="PATH", help="an activation of the backbone (default: the last)"
    )
    add_images(parser, "all")
    _add_figure(parser, eps="1", meaning="L-infinity radius in grey levels")


def _add_minimal_eps(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "minimal-eps",
        "search the smallest radius, image by image, that moves the score so far",
        "iqabench minimal-eps --dataset demo --defense resnet --defense cprl --change 0.1",
    )
    parser.add_argument(
        "--change",
        type=float,
        default=0.1,
        metavar="X",
        help="how far the score, 0 to 1, has to move (default: %(default)s)",
    )
    add_images(parser, "100")
    _add_figure(
        parser,
        attacks=("pgd:objective=raise", "pgd:objective=lower"),
        eps="8",
        meaning="the largest L-infinity radius tried, in grey levels",
    )


def _add_certify(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands,
        "certify",
        "bound how far a smoothed score can move inside L2 balls",
        "iqabench certify --defense smoothing+resnet --dataset demo --l2 0.01,0.02,0.05",
    )
    add_conditions(parser)
    parser.add_argument(
        "--l2",
        default="0.01,0.02,0.05",
        metavar="LIST",
        help="Euclidean radii, of images in [0, 1] (default: %(default)s)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=1000,
        metavar="N",
        help="noisy passes per image (default: %(default)s)",
    )
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.999,
        metavar="P",
        help="that the bounds of an image at a radius hold (default: %(default)s)",
    )
    add_images(parser, "100", does="certify")
    add_batch_size(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/certificates"),
        metavar="DIR",
        help="where the CSV, JSON, PNG and SVG go (default: %(default)s)",
    )
    add_json(parser)


def _file(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty path names no file")
    return Path(text)


def _add_label(parser: Parser) -> None:
    parser.add_argument(
        "--mos",
        type=float,
        metavar="X",
        help="label that the attack is told (default: the data set's, else the clean score)",
    )


def _add_figure(
    parser: Parser,
    *,
    eps: str,
    meaning: str,
    attacks: Sequence[str] = ("fgsm:objective=reflect",),
) -> None:
    add_conditions(parser)
    parser.add_argument(
        "--attack",
        action="append",
        metavar="SPEC",
        help=f"the attack (default: {' and '.join(attacks)})",
    )
    parser.set_defaults(figure_attacks=list(attacks))
    parser.add_argument("--eps", default=eps, metavar="N", help=f"{meaning} (default: %(default)s)")
    add_batch_size(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/figures"),
        metavar="DIR",
        help="where the PNG, SVG and CSV go (default: %(default)s)",
    )
    add_json(parser)
