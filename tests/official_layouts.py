"""The official layouts of the paper's four data sets, with made images under the real names.

Label files have the real structure: order, orientation, types of values, columns, copies of
references, training images. Scores are made, within the real ranges, and differ for every image.
"""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

LIVE_IMAGES = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
"""From the release's readme, as DATA.md gives it."""
_SCENES = (
    "bikes building2 buildings caps carnivaldolls cemetry churchandcapitol coinsinfountain dancers"
    " flowersonih35 house lighthouse lighthouse2 manfishing monarch ocean paintedhouse parrots"
    " plane rapids sailing1 sailing2 sailing3 sailing4 statue stream studentsculpture woman"
    " womanhat"
)
LIVE_SCENES = _SCENES.split()
_COPIES_JP2K = (
    "1 9 11 16 20 22 24 25 35 36 50 54 57 64 66 67 70 72 73 76 84 87 89 93 95 97 100 110 112 117"
    " 118 119 123 128 131 134 139 140 145 147 151 153 157 159 161 166 180 184 186 188 189 190 204"
    " 206 207 209 223 224"
)
_COPIES_JPEG = (
    "3 5 6 7 10 12 19 20 22 26 28 31 34 42 48 52 54 66 68 76 82 87 88 95 109 112 113 114 115 118"
    " 122 123 125 133 136 139 140 142 153 155 158 169 172 173 179 182 189 190 191 193 202 208 211"
    " 212 219 222 224 227"
)
LIVE_COPIES: dict[str, set[int]] = {
    "jp2k": {int(n) for n in _COPIES_JP2K.split()},
    "jpeg": {int(n) for n in _COPIES_JPEG.split()},
    **{kind: set(range(146, 175)) for kind in ("wn", "gblur", "fastfading")},
}
"""Numbers of the images that are copies of references: where the real scores and their standard
deviations are 0."""
VCL_NAMES = [
    f"IMG_{scene:02d}_{kind}_{level}"
    for kind in ("AWGN", "BLU", "J2K", "JPG")
    for scene in range(1, 24)
    for level in range(1, 7)
]
LIVEC_NAMES = [f"{n}.{'JPG' if 533 <= n <= 1159 else 'bmp'}" for n in range(3, 1165)]
"""The real endings; that of 100 is inferred from its neighbours."""
KONIQ_SCORES = "koniq10k_scores_and_distributions.csv"
KONIQ_SETS = "koniq10k_distributions_sets.csv"


def picture(ending: str) -> bytes:
    """Return a small picture as the bytes of a file."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP" if ending.casefold() == "bmp" else "JPEG")
    return file.getvalue()


def write_images(folder: Path, names: Iterable[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {ending: picture(ending) for ending in ("bmp", "jpg")}
    for name in names:
        (folder / name).write_bytes(pictures[name.rpartition(".")[2].casefold()])
    return folder


def cell(texts: Sequence[Any], shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    made = np.empty(len(texts), dtype=object)
    made[:] = texts
    return made.reshape(shape)


def spread(count: int, low: float, high: float) -> np.ndarray[Any, Any]:
    """Return different values from ``low`` to ``high``, neighbours far apart."""
    order = np.random.default_rng(1).permutation(count)
    return low + (high - low) * order / (count - 1)


def live_tables() -> dict[str, Any]:
    """Return every variable of the label files in the official order."""
    numbered = [(kind, n) for kind, count in LIVE_IMAGES.items() for n in range(1, count + 1)]
    orgs = np.array([n in LIVE_COPIES[kind] for kind, n in numbered])
    refnames = [f"{LIVE_SCENES[i * 7 % 29]}.bmp" for i in range(len(numbered))]
    tables: dict[str, Any] = {"orgs": orgs, "refnames": refnames}
    for name, low, high in (("dmos", 0.5, 84.489), ("dmos_new", -2.640015, 111.774694)):
        scores = np.zeros(len(numbered))
        scores[~orgs] = spread(int((~orgs).sum()), low, high)
        tables[name] = scores
    tables["dmos_std"] = np.where(orgs, 0.0, 5 + np.arange(len(orgs)) / 100)
    return tables


def write_live(
    root: Path,
    *,
    release: bool = True,
    realigned: Path | str | None = "",
    realigned_orgs: int = 779,
    jp2k: str = "jp2k",
) -> Path:
    """Write release 2 into ``root`` and return ``root``.

    Args:
        root: The folder ``databaserelease2`` itself.
        release: Whether ``dmos.mat`` is there.
        realigned: Where ``dmos_realigned.mat`` is, relative to ``root``; None leaves it out.
        realigned_orgs: 982 for the right ``orgs`` in it; 779 for zeros, as in a file that is about.
        jp2k: How the folder is spelled.
    """
    tables = live_tables()
    for kind, count in LIVE_IMAGES.items():
        folder = jp2k if kind == "jp2k" else kind
        write_images(root / folder, [f"img{n}.bmp" for n in range(1, count + 1)])
        (root / folder / "info.txt").write_text("\n")
    write_images(root / "refimgs", [f"{scene}.bmp" for scene in LIVE_SCENES])
    savemat(root / "refnames_all.mat", {"refnames_all": cell(tables["refnames"], (1, 982))})
    orgs = tables["orgs"][None]
    if release:
        savemat(root / "dmos.mat", {"dmos": tables["dmos"][None], "orgs": orgs.astype(float)})
    if realigned is not None:
        stored = orgs if realigned_orgs == 982 else np.zeros((1, realigned_orgs), bool)
        new = tables["dmos_new"][None]
        savemat(
            root / realigned / "dmos_realigned.mat",
            {"dmos_new": new, "dmos_std": tables["dmos_std"][None], "orgs": stored},
        )
    return root


def vcl_scores() -> dict[str, float]:
    """Return a MOS for each name: falls with the level, as the means of the real ones do."""
    noise = spread(len(VCL_NAMES), 0.0, 9.0)
    levels = {1: 87.5, 2: 70.0, 3: 52.0, 4: 35.0, 5: 20.0, 6: 1.5659}
    scores = {
        name: round(levels[int(name[-1])] + float(more), 6)
        for name, more in zip(VCL_NAMES, noise, strict=True)
    }
    return {name: min(score, 96.5232) for name, score in scores.items()}


def vcl_file(name: str) -> str:
    return f"{name}.jpg" if "_JPG_" in name else f"{name}.bmp"


def write_vcl(root: Path, *, references: str = "vcl_fer", images: str = "vcl_fer") -> Path:
    """Write the images into ``root`` and return it; references where the two known layouts say."""
    write_images(root / images, map(vcl_file, VCL_NAMES))
    write_images(root / references, [f"IMG_{n:02d}.bmp" for n in range(1, 24)])
    return root


def write_vcl_mat(path: Path) -> None:
    savemat(path, {"mos": np.array(list(vcl_scores().values()))[:, None]})


def write_table(path: Path, rows: Iterable[Sequence[object]], *, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows(rows)


def write_xls(path: Path, rows: Iterable[Sequence[str | float]]) -> None:
    """Write a worksheet in the oldest binary Excel format (BIFF2)."""
    stream = struct.pack("<HHHH", 0x0009, 4, 2, 0x10)
    for r, row in enumerate(rows):
        for c, value in enumerate(row):
            if isinstance(value, str):
                kind, rest = 0x0004, bytes([len(value)]) + value.encode("ascii")
            else:
                kind, rest = 0x0003, struct.pack("<d", value)
            body = struct.pack("<HH3x", r, c) + rest
            stream += struct.pack("<HH", kind, len(body)) + body
    path.write_bytes(stream + struct.pack("<HH", 0x000A, 0))


def livec_scores() -> list[float]:
    """Return the scores of all 1,169 entries, training images first."""
    return [50.0] * 7 + [float(x) for x in spread(len(LIVEC_NAMES), 3.42, 92.432)]


def write_livec(root: Path) -> Path:
    """Write ``ChallengeDB_release`` into ``root`` and return ``root``."""
    training = [f"t{n}.bmp" for n in range(1, 8)]
    write_images(root / "Images" / "trainingImages", training)
    write_images(root / "Images", LIVEC_NAMES)
    data = root / "Data"
    data.mkdir()
    names = cell([*training, *LIVEC_NAMES], (1169, 1))
    savemat(data / "AllImages_release.mat", {"AllImages_release": names})
    savemat(data / "AllMOS_release.mat", {"AllMOS_release": np.array(livec_scores())[None]})
    deviations = np.linspace(10.0, 30.0, 1169)[None]
    savemat(data / "AllStdDev_release.mat", {"AllStdDev_release": deviations})
    return root


KONIQ_ROWS = [
    (
        f"{10004473376 + 37 * i}.jpg",
        ("training", "training", "test", "validation", "training")[i % 5],
    )
    for i in range(20)
]
"""Name and official set of each made image."""


def koniq_mos() -> tuple[list[float], list[float]]:
    """Return the MOS of both label files; one rises with the other, but not linearly."""
    small = spread(len(KONIQ_ROWS), 1.096, 4.31)
    hundred = 3.912 + (88.389 - 3.912) * ((small - 1.096) / (4.31 - 1.096)) ** 0.8
    return [float(x) for x in small], [float(x) for x in hundred]


def write_koniq_scores(path: Path) -> None:
    small, hundred = koniq_mos()
    columns = ["image_name", "c1", "c2", "c3", "c4", "c5", "c_total", "MOS", "SD", "MOS_zscore"]
    rows = [
        [name, 0, 0, 25, 73, 7, 105, mos, 0.53, z]
        for (name, _), mos, z in zip(KONIQ_ROWS, small, hundred, strict=True)
    ]
    write_table(path, [columns, *rows])


def write_koniq_sets(path: Path) -> None:
    columns = ["image_name", "c1", "c2", "c3", "c4", "c5", "c_total", "MOS", "SD", "set"]
    rows = [
        [name, 0.0, 0.0, 0.238, 0.695, 0.067, 105, mos, 0.53, part]
        for (name, part), mos in zip(KONIQ_ROWS, koniq_mos()[1], strict=True)
    ]
    write_table(path, [columns, *rows])


def write_koniq_images(folder: Path) -> Path:
    return write_images(folder, [name for name, _ in KONIQ_ROWS])
