"""Trained metrics of the user's: a class with weights, an exported program."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support import Workplace, grid_images
from torch import Tensor, nn

from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.contracts.pretrained import Pretrained
from iqabench.errors import CellError, IncompatibleError, ParamError, WeightsError
from iqabench.results import find_cells, read_cell
from iqabench.testing import check_defense

IMAGES = grid_images(size=32)
SOURCE = '''
import torch
from torch import nn

class Metric(nn.Module):
    """DMOS, lower is better, 0 to 80."""
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 1)
    def forward(self, x):
        return 80 * torch.sigmoid(self.head(self.norm(self.conv(x)).relu().mean((2, 3))))

class Needy(nn.Module):
    def __init__(self, size):
        super().__init__()

number = 3
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "my_metrics").mkdir()
    (tmp_path / "my_metrics" / "net.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("my_metrics")]:
        del sys.modules[name]


def made() -> nn.Module:
    from my_metrics.net import Metric  # type: ignore[import-not-found]

    torch.manual_seed(1)
    metric: nn.Module = Metric()
    metric.norm.running_mean += 0.1  # type: ignore[operator,union-attr]
    return metric.eval()


def scores(spec: str) -> Tensor:
    backbone = BackboneSpec("demo_net", "none").build()
    regressor = Chain.parse(spec).build(backbone).eval().requires_grad_(False)
    found: Tensor = regressor(IMAGES)
    return found


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_class_with_its_weights_is_scored_on_the_scale_of_scores(
    here: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Chain.parse("module:my_metrics.net:Metric")  # imports it from here
    monkeypatch.syspath_prepend(str(here))
    metric = made()
    path = here / f"w.{ending}"
    if ending == "pth":
        torch.save({"state_dict": metric.state_dict()}, path)
    else:
        save_file(metric.state_dict(), path)
    with torch.no_grad():
        dmos = metric(IMAGES).squeeze(1)
    found = scores(f"module:my_metrics.net:Metric,weights={path},worst=80,best=0")
    assert torch.allclose(found, 1 - dmos / 80)


def test_a_program_is_scored_and_has_a_gradient(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(here))
    metric = made()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(metric, (IMAGES[:2],), dynamic_shapes=({0: batch},))
    path = here / "metric.pt2"
    torch.export.save(program, path)
    spec = f"exported:{path},worst=80,best=0"
    with torch.no_grad():
        assert torch.allclose(scores(spec), 1 - metric(IMAGES).squeeze(1) / 80, atol=1e-6)
    regressor = Chain.parse(spec).build(BackboneSpec("demo_net", "none").build())
    images = IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(regressor.logit(images).sum(), images)
    assert gradient.any()
    regressor.train().eval()
    check_defense(Chain.parse(spec).base.component)


def test_what_is_in_the_files_is_part_of_every_key(here: Path) -> None:
    spec = "module:my_metrics.net:Metric"
    before = Chain.parse(spec).identities
    assert Chain.parse(spec).identities == before
    source = here / "my_metrics" / "net.py"
    source.write_text(source.read_text().replace("80 *", "70 *"))
    assert Chain.parse(spec).identities != before


@pytest.mark.parametrize(
    ("spec", "error", "why"),
    [
        ("module:my_metrics.net", ParamError, "write module:package.mod:Class"),
        ("module:my_metrics.net:Nothing", ParamError, "does not import: AttributeError"),
        ("module:no_such_module:Metric", ParamError, "does not import: ModuleNotFoundError"),
        ("module:my_metrics.net:number", ParamError, "not a class derived from nn.Module"),
        ("module:my_metrics.net:Metric,worst=1", ParamError, "worst and best are both 1"),
        ("module:my_metrics.net:Metric,weights=none.pth", WeightsError, "No such file"),
        ("exported:none.pt2", WeightsError, "No such file"),
        ("at+module:my_metrics.net:Metric", IncompatibleError, "is not trained"),
    ],
)
def test_a_wrong_request_says_what_to_write(
    here: Path, spec: str, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why) as caught:
        Chain.parse(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["module", "exported"])
def test_a_name_without_its_file_says_what_to_write(name: str) -> None:
    with pytest.raises(IncompatibleError, match=f"{name}:"):
        scores(name)


def test_what_cannot_be_made_or_filled_is_said(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WeightsError, match="cannot be made without arguments"):
        scores("module:my_metrics.net:Needy")
    torch.save({"conv.weight": torch.zeros(4, 3, 3, 3)}, here / "part.pth")
    with pytest.raises(WeightsError, match="5 of 6 tensors are missing|is it another network"):
        scores(f"module:my_metrics.net:Metric,weights={here / 'part.pth'}")
    (here / "damaged.pt2").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="no exported program"):
        scores(f"exported:{here / 'damaged.pt2'}")
    with zipfile.ZipFile(here / "other.pt2", "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(WeightsError, match="cannot make sense of this archive"):
        scores(f"exported:{here / 'other.pt2'}")
    assert capfd.readouterr().err == ""


class Returns(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, images: Tensor) -> object:
        if self.what == "in place":
            return images.sub_(0.5).mean((1, 2, 3))
        return {"two": images.mean((2, 3))[:, :2], "one": images.mean(), "list": [1.0]}[self.what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("two", r"the metric returned shape \(3, 2\), not \(3,\): a value per image"),
        ("one", r"the metric returned shape \(\), not \(3,\)"),
        ("list", "the metric returned list, not a tensor"),
    ],
)
def test_a_metric_that_gives_no_value_per_image_is_told_so(what: str, message: str) -> None:
    with pytest.raises(CellError, match=message):
        Pretrained(Returns(what), 0.0, 1.0)(grid_images(3, 8))


def test_what_a_metric_does_to_its_input_stays_its_own() -> None:
    images = grid_images(3, 8)
    before = images.clone()
    with torch.no_grad():
        Pretrained(Returns("in place"), 0.0, 1.0)(images)
    assert torch.equal(images, before)


class Touching:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_program_with_a_pickle_in_it_is_refused_unread(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(here))
    path, touched = here / "hostile.pt2", here / "touched"
    torch.export.save(torch.export.export(made(), (IMAGES[:2],)), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = io.BytesIO()
    torch.save(({"x": Touching(touched)}, {}), pickled)
    [inputs] = [name for name in members if "sample_inputs" in name]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members | {inputs: pickled.getvalue()}).items():
            archive.writestr(name, data)
    with pytest.raises(WeightsError, match="no exported program"):
        scores(f"exported:{path}")
    assert not touched.exists()


def test_it_is_attacked_through_the_public_command(here: Path) -> None:
    place = Workplace(here)
    flags = ("--dataset", "biq2021", "--no-reference", "--attack", "fgsm:objective=lower")
    spec = "module:my_metrics.net:Metric,worst=80,best=0"
    assert place.run(*flags, "--defense", f"jpeg+{spec}", "--defense", spec, "--eps", "4") == 0
    records = [read_cell(path) for path in find_cells(place.out)]
    assert {record.status for record in records} == {"done"}
    assert {record.about["backbone_weights"] for record in records} == {"pretrained"}
