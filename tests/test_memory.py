"""Where memory runs out, batches are halved; results are the same and nothing is done twice."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support import Linear, grid_images, side_of
from torch import Tensor

from iqabench.api import Noise
from iqabench.clean import clean_scores
from iqabench.conditions import Conditions
from iqabench.contracts.objective import Facts
from iqabench.memory import Memory, is_exhausted
from iqabench.pixels import Pixels
from iqabench.planning import attack
from iqabench.resident import Residence, Resident, fits_in
from iqabench.sides import Geometry, Side
from iqabench.sweeping import Outcome, Sweep

COUNT = 11
EPS = [1.0, 4.0]


def out_of_memory() -> Exception:
    return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def allocator() -> Exception:
    return RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried")


class Small(Linear):
    """A linear regressor on a device that holds so many images."""

    def __init__(self, holds: int, error: Callable[[], Exception] = out_of_memory) -> None:
        super().__init__()
        self.holds, self.error = holds, error
        self.sizes: list[int] = []

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        self.sizes.append(len(images))
        if len(images) > self.holds:
            raise self.error()
        return super().logit(images, noise)


def swept(regressor: Linear, spec: str, memory: Memory) -> tuple[Sweep, dict[float, Outcome]]:
    side = side_of(grid_images(COUNT))
    conditions = Conditions(0, 1, 1, 8, torch.device("cpu"), memory)
    clean, _, _ = clean_scores(regressor, side, conditions, lambda done, total: None)
    facts = Facts(side.image_ids, side.mos.tolist(), clean.logits.tolist())
    prepared = attack(spec).component.prepare(facts)
    sweep = Sweep(prepared, regressor, side, clean, conditions)
    sweep.make_ready(side, EPS[0])
    return sweep, sweep.run(EPS, lambda done, total: None)


@pytest.mark.parametrize("error", [out_of_memory, allocator, MemoryError])
@pytest.mark.parametrize("spec", ["fgsm:objective=reflect", "pgd:steps=3,objective=both", "uap"])
def test_a_sweep_goes_on_with_smaller_batches(spec: str, error: Callable[[], Exception]) -> None:
    lines: list[str] = []
    memory = Memory(say=lines.append)
    sweep, found = swept(Small(3, error), spec, memory)
    plain, wanted = swept(Linear(), spec, Memory())
    assert memory.most == 2
    assert len(lines) == 2
    assert lines[1] == "memory ran out at 4 images per pass; going on with 2"
    assert torch.allclose(sweep.clean.scores, plain.clean.scores, rtol=0, atol=1e-6)
    for eps in EPS:
        assert found[eps].error is None
        ours, theirs = (o[eps].columns.table({}) for o in (found, wanted))
        assert set(ours) == set(theirs)
        for name in ours:
            assert len(ours[name]) == COUNT
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name


def test_what_was_found_holds_for_all_who_share_it() -> None:
    memory = Memory()
    swept(Small(5), "fgsm", memory)
    again = Small(5)
    swept(again, "fgsm", memory)
    assert memory.most == 4
    assert max(again.sizes) == 4


def test_where_not_even_one_image_fits_every_radius_fails() -> None:
    regressor = Small(8)
    sweep, _ = swept(regressor, "fgsm", Memory())
    regressor.holds = 0
    found = sweep.run(EPS, lambda done, total: None)
    assert all("out of memory" in str(outcome.error) for outcome in found.values())


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    memory = Memory()
    with pytest.raises(RuntimeError, match="shapes"):
        swept(Small(3, lambda: RuntimeError("shapes do not match")), "fgsm", memory)
    assert memory.most is None
    assert not is_exhausted(ValueError("can't allocate memory"))


def test_a_batch_is_worked_on_until_it_fits_and_then_no_more() -> None:
    tried: list[list[int]] = []

    def work(numbers: list[int]) -> list[int]:
        tried.append(numbers)
        if len(numbers) > 2:
            raise MemoryError
        return numbers

    assert list(Memory().batches(range(5), 4, work)) == [[0, 1], [2, 3], [4]]
    assert tried == [[0, 1, 2, 3], [0, 1], [2, 3], [4]]


def mixed() -> Pixels:
    shapes = [(9, 12), (8, 8), (20, 8), (8, 9), (11, 10)]
    levels = torch.arange(sum(h * w * 3 for h, w in shapes)) % 256
    return Pixels(shapes, levels.byte().numpy())


def test_batches_made_on_a_device_are_those_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iqabench.resident._CHUNK", 2)
    resident = Resident(mixed(), 8, torch.device("cpu"))
    for numbers in ([0], [4, 1], list(range(5))):
        made = resident.batch(numbers)
        assert torch.equal(made, mixed().centre_crops(numbers, 8))
        assert made.is_contiguous()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident pages are Linux's")
def test_images_that_were_read_do_not_stay_in_memory(tmp_path: Path) -> None:
    count, size = 8000, 64
    file = tmp_path / "pixels.u8"
    with file.open("wb") as out:
        out.truncate(count * size * size * 3)  # 98 MB
    pixels = Pixels([(size, size)] * count, np.memmap(file, np.uint8, mode="r"))
    before = resident_mb()
    for start in range(0, count, 50):
        pixels.centre_crops(range(start, start + 50), size)
    assert resident_mb() - before < 30


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE / 2**20


def test_images_stay_on_the_host_for_a_cpu_and_where_they_would_crowd_a_gpu() -> None:
    assert Residence().on(torch.device("cpu"), mixed(), 8) is None
    need = 1000 * 224 * 224 * 3
    assert fits_in(1000, 224, 4 * need)
    assert not fits_in(1000, 224, 4 * need - 4)


@pytest.mark.gpu
def test_a_gpu_keeps_the_images() -> None:
    device = torch.device("cuda")
    side = Side((), (), Geometry(8, 8), Path(), mixed())
    found = Residence().on(device, side.pixels, 8)
    assert found is not None
    assert torch.equal(found.batch([3, 0]).cpu(), mixed().centre_crops([3, 0], 8))


@pytest.mark.gpu
def test_a_sweep_on_a_gpu_is_that_on_the_cpu() -> None:
    side = side_of(grid_images(COUNT))
    scores = []
    for name in ("cpu", "cuda"):
        device = torch.device(name)
        conditions = Conditions(0, 1, 1, 4, device)
        regressor = Linear().to(device)
        clean, _, _ = clean_scores(regressor, side, conditions, lambda done, total: None)
        sweep = Sweep(attack("fgsm").component, regressor, side, clean, conditions)
        found = sweep.run(EPS, lambda done, total: None)
        scores.append(torch.from_numpy(found[4.0].columns.array("score")))
    assert torch.allclose(scores[0], scores[1], rtol=0, atol=1e-5)
