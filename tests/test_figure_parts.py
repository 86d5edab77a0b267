"""The parts of a figure, each by itself: twin, plane, layer, and files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from support import grid_images
from torch import nn

from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.cli.parser import build_parser
from iqabench.contracts.regressor import Regressor
from iqabench.errors import CellError, DataError, IncompatibleError, OutputError
from iqabench.figures.canvas import FACTS, Words
from iqabench.figures.channels import Comparison, Recorder, find_layer
from iqabench.figures.drawing import draw_planes, draw_twin
from iqabench.figures.plane import Grid, Plane, check_surrogate
from iqabench.figures.twin import Twin, twin_table
from iqabench.files import write_set
from iqabench.leaderboard.curves import to_png


def test_a_difference_is_amplified_to_the_whole_range() -> None:
    clean = grid_images(1)[0]
    signs = torch.where(clean > 0.5, 1.0, -1.0)
    twin = Twin("x", "d", clean, clean + signs * 2 / 255, 0.5, "given", 2.0, {"linf_255": 2.0})
    assert twin.factor == 127.5 / 2
    assert torch.allclose(twin.difference, (signs + 1) / 2, atol=1e-4)


def test_the_examples_name_layers_and_surrogates_that_are_there() -> None:
    text = (Path(__file__).parents[1] / "docs" / "figures.md").read_text().replace("\\\n", "")
    backbones = {"biq2021": "resnet50", "demo": "demo_net"}
    found = set()
    for line in re.findall("(?m)^    (iqabench .*)$", text):
        arguments = build_parser().parse_args(shlex.split(line)[1:])
        chain = Chain.parse((arguments.defense or ["resnet"])[-1])
        data = (arguments.dataset or ["biq2021"])[0]
        net = chain.build(BackboneSpec(backbones[data], "none", True).build())
        if arguments.command == "activations":
            assert find_layer(net, arguments.layer)[0] == arguments.layer
        elif arguments.command == "landscape":
            check_surrogate(arguments.direction_from, [net])
        found.add(arguments.command)
    assert found == {"show-attack", "landscape", "activations", "minimal-eps"}


def test_rows_are_of_every_call_while_it_is_watched() -> None:
    module, recorder = nn.Identity(), Recorder()
    batches = [torch.rand(3, 4, 5, 5), torch.rand(1, 4, 5, 5)]
    with recorder.of(module):
        for batch in batches:
            module(batch)
    module(torch.ones(2, 4, 5, 5))
    assert torch.allclose(recorder.rows().float(), torch.cat(batches).mean((2, 3)))
    with pytest.raises(CellError, match="no activations"):
        Recorder().rows()


def test_opposite_moves_do_not_cancel() -> None:
    compared = Comparison()
    natural = torch.tensor([[1.0, 2.0], [1.0, 4.0]]).double()
    compared.add(natural, natural + torch.tensor([[0.5, 0.0], [-0.5, 1.0]]))
    compared.add(natural[:1], natural[:1])
    before, after, moved = compared.means().tolist()
    assert before == pytest.approx([1, 8 / 3])
    assert after == pytest.approx([1, 3])
    assert moved == pytest.approx([1 / 3, 1 / 3])
    with pytest.raises(CellError, match="no pairs"):
        compared.add(natural, natural[:1])


def test_a_layer_is_what_stands_at_the_site() -> None:
    net = Chain.parse("cprl").build(BackboneSpec("demo_net", "none", True).build())
    path, module = find_layer(net, None)
    assert (path, type(module).__name__) == ("stages.3.act", "ChannelActivation")
    with pytest.raises(DataError, match=r"Did you mean 'stages\.1\.act'\?"):
        find_layer(net, "stage.1.act")

    class Bare(Regressor):
        def logit(self, images: torch.Tensor, noise: object = None) -> torch.Tensor:
            return images.mean((1, 2, 3))

    with pytest.raises(IncompatibleError, match="no backbone"):
        find_layer(Bare(), None)


def test_a_set_of_files_is_replaced_when_all_are_written(tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.csv"
    first.write_bytes(b"old")
    second.mkdir()  # cannot be replaced by a file
    with pytest.raises(OutputError, match=r"cannot write .*b\.csv"):
        write_set({first: b"new", second: b"new"})
    assert first.read_bytes() == b"old"
    second.rmdir()
    write_set({first: b"new", second: b"too"})
    assert (first.read_bytes(), second.read_bytes()) == (b"new", b"too")
    assert len(list(tmp_path.iterdir())) == 2


def plane(defense: str, low: float, high: float) -> Plane:
    row = (low, (low + high) / 2, high)
    return Plane(defense, (-4.0, 0.0, 4.0), (row, row, row), 0.5, "given", "own")


def test_planes_end_at_eps_and_say_what_differs_and_where_the_score_goes() -> None:
    labels = [f"cprl:{'same=1,' * 20}{k}={'x' * 60}{k}" for k in ("first", "second")]
    planes = [plane(labels[0], 0.5, 0.501), plane(labels[1], 0.501, 0.5)]
    figure = draw_planes(planes, Words("\u4e2d" * 300, ["a" * 300]))
    first, second, bar = figure.axes
    assert first.get_xlim() == second.get_ylim() == (-4, 4)
    low, high = bar.get_ylim()
    assert high - low == pytest.approx(0.02)
    titles = [ax.get_title(loc="left") for ax in (first, second)]
    assert "first=" in titles[0]
    assert "second=" in titles[1]
    assert "raises it to 0.5010" in titles[0].replace("\n", " ")
    assert "lowers it to 0.5000" in titles[1].replace("\n", " ")
    assert all(float(text.get_fontsize()) >= FACTS for text in figure.texts)
    to_png(figure)  # every warning is an error, those of missing letters too
    assert "..." in figure.texts[1].get_text()


def test_a_white_image_has_a_frame() -> None:
    white = torch.ones(3, 8, 8)
    numbers = {"linf_255": 0.0, "clean_score": 0.5, "score": 0.5}
    figure = draw_twin(Twin("x", "d", white, white, 0.5, "given", 2.0, numbers), Words("x", ["y"]))
    assert all(s.get_visible() for ax in figure.axes for s in ax.spines.values())


def test_a_number_that_is_infinite_is_null() -> None:
    clean = grid_images(1)[0]
    numbers = {"linf_255": 0.0, "psnr": float("inf")}
    header, row = twin_table(Twin("x", "d", clean, clean, 0.5, "given", 2.0, numbers), "fgsm")
    assert row[header.index("psnr")] is None


def test_the_middle_of_a_grid_is_exactly_the_image() -> None:
    steps = Grid(0.7, 21).steps
    assert steps[10] == 0
    assert steps[0] == -steps[-1] == -0.7
