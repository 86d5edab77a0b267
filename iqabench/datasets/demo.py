"""The demo data set: always there, made on first use, labelled by a proxy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from iqabench.api import Dataset, LabelMap, Row, Table, read_csv, read_number, resolve_images
from iqabench.datasets.demo_images import DEMO_VERSION, write_demo

MAP = LabelMap("demo labels.csv, column mos", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Demo(Dataset):
    """Photographs that installed packages ship, distorted in graded strengths.

    The labels are a proxy: a full-reference metric averaged over scenes for each distortion and
    strength (``demo_images`` says which). They stand in for human scores where none are at hand;
    every table, plot and page that shows them says so.
    """

    summary = "shipped photographs with graded distortions; labels are a computed proxy"
    version = DEMO_VERSION

    title = "demo"
    homepage = "made by iqabench on first use"
    licence = "photographs of various free or unstated licences: see README.txt in the folder"
    layout = "a folder with Images/ and labels.csv, made by iqabench"
    expected_images = 0
    proxy_labels = True
    makes_itself = True

    def locate(self, root: Path) -> Path | None:
        """See ``Dataset.locate``; ``root`` is the folder that ``make`` filled."""
        return root if (root / "labels.csv").exists() else None

    def make(self, folder: Path, on_progress: Callable[[int, int], None]) -> None:
        """See ``Dataset.make``."""
        write_demo(folder, on_progress)

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``."""
        path = folder / "labels.csv"
        columns = ("image", "mos", "scene", "distortion")
        labels = list(read_csv(path, *columns, source="demo (remove its folder to make it anew)"))
        names = [label["image"] for label in labels]
        paths = resolve_images(names, folder / "Images", source="demo")
        return Table(
            [
                Row(
                    image_id=label["image"],
                    path=p,
                    mos=MAP(read_number(label["mos"], source=f"demo: {path}")),
                    scene=label["scene"],
                    distortion=label["distortion"],
                )
                for label, p in zip(labels, paths, strict=True)
            ],
            MAP,
        )
