"""Peak memory of a sweep on 10,000 images against one on 500, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from subject import CPU, regressor_of, run, side_of, sweep_of
from timing import Row, at_most, main

from iqabench.allocation import KEEPING
from iqabench.environment import peak_memory_mb
from iqabench.pixels import Pixels
from iqabench.sides import Side

SIZE = 128


def measure(repeats: int, *, few: int = 500, many: int = 10_000) -> list[Row]:
    """Return the row of the difference; repeats change nothing, a peak is a peak."""
    small, large = (_in_a_process(count) for count in (few, many))
    what = f"peak memory of {many:,} images over {few:,}"
    how = f"demo_net, FGSM at 1, 2 and 4, {SIZE} px, pixels in a memory-mapped file"
    return [
        at_most(what, 300, large - small, how, "MB"),
        Row(f"peak memory of {few:,} images", "none", small, "MB", None, how),
    ]


def _in_a_process(count: int) -> float:
    command = [sys.executable, __file__, "--images", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def _peak(count: int) -> float:
    KEEPING.apply()  # as the command does
    with tempfile.TemporaryDirectory() as folder:
        sweep = sweep_of(
            "fgsm:objective=reflect",
            regressor_of("resnet", "demo_net"),
            _side(count, Path(folder) / "pixels.u8"),
        )
        run(sweep, [1.0, 2.0, 4.0])
        peak = peak_memory_mb(CPU)
    assert peak is not None
    return peak


def _side(count: int, file: Path) -> Side:
    """Return a side whose pixels are in a file, as a run's are."""
    one = side_of(1, SIZE)
    image = np.ascontiguousarray(one.pixels.image(0)).tobytes()
    with file.open("wb") as out:
        for _ in range(count):
            out.write(image)
    rows = tuple(replace(one.rows[0], image_id=f"image{i}", mos=i / count) for i in range(count))
    return Side(
        rows,
        one.hashes * count,
        one.geometry,
        file.parent,
        Pixels([(SIZE, SIZE)] * count, np.memmap(file, np.uint8, mode="r")),
    )


if __name__ == "__main__":
    if "--images" in sys.argv:
        sys.stdout.write(json.dumps(_peak(int(sys.argv[-1]))))
    else:
        main(measure, __doc__, quick={"few": 100, "many": 1000}, repeats=1)
