"""Malformed inputs of every kind, one row each, for ``test_malformed.py``."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from support import Workplace

TRAIN, TEST = "Train (Images and MOS).csv", "Test (Images and MOS).csv"


@dataclass(frozen=True)
class Site:
    """Where a row makes what it needs.

    Attributes:
        folder: Of this row alone; nothing may be new in it afterwards.
        place: Data, benchmark, store and a finished run, which a row copies before it breaks them.
    """

    folder: Path
    place: Workplace

    def run(self, *flags: str) -> list[str]:
        """Return the main job, in a run directory that is not there."""
        argv = ["run", "--out", str(self.folder / "run"), *self.place.places()]
        return [*argv, "--dataset", "biq2021", *flags]

    def config(self, text: str | bytes) -> list[str]:
        """Return a dry run with a benchmark file."""
        path = self.folder / "mine.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return ["run", "--dry-run", "--config", str(path), "--out", str(self.folder / "run")]

    def labels(self, change: Callable[[str], str | bytes], name: str = TEST) -> list[str]:
        """Return the main job on data whose label file was changed."""
        path = self.data() / name
        text = change(path.read_text())
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return self.run("--data-root", str(self.folder / "data"))

    def image(self, write: Callable[[Path], object]) -> list[str]:
        """Return the main job on data of which one image was written anew."""
        path = self.data() / "Images" / "ss01 (Te0).jpg"
        path.unlink()
        write(path)
        return self.run("--data-root", str(self.folder / "data"))

    def weights(self, write: Callable[[Path], object], name: str = "w.pth") -> list[str]:
        """Return the main job from a weights file."""
        path = self.folder / name
        write(path)
        return self.run("--backbone-weights", str(path))

    def finished(self, change: Callable[[Path], object], *command: str) -> list[str]:
        """Return a command on a copy of the finished run that was changed."""
        run = self.folder / "run"
        shutil.copytree(self.place.out, run)
        change(run)
        return [*(command or ("report",)), str(run)]

    def split(self, text: str) -> list[str]:
        """Return the main job with a split file."""
        path = self.folder / "split.json"
        path.write_text(text)
        return self.run("--split", str(path))

    def data(self) -> Path:
        """Copy the data and return the folder of the data set."""
        shutil.copytree(self.place.data, self.folder / "data")
        return self.folder / "data" / "biq2021"


@dataclass(frozen=True)
class Row:
    """One malformed input.

    Attributes:
        what: What it is.
        make: Writes it, and returns the command line.
        message: What the line must hold.
        code: Exit code: 2 for what is refused, 1 for what fails.
    """

    what: str
    make: Callable[[Site], list[str]]
    message: str
    code: int = 2


def _bomb(key: str) -> str:
    levels = [f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    rest = "\n".join(f"- {level}" for level in levels)
    return f"{key}:\n- &a0 [x, x]\n{rest}\n"


def yaml_rows() -> Iterator[Row]:
    """Benchmark files."""
    texts: list[tuple[str, str | bytes, str]] = [
        ("an open bracket", "eps: [", "mine.yaml is no valid YAML"),
        ("a list", "- eps\n", "must be a mapping of keys, found list"),
        ("a null byte", "eps: \x00", "is no valid YAML"),
        ("bytes that are no text", b"eps: \xff\xfe", "cannot be read"),
        ("a python object", "eps: !!python/object/apply:os.system [x]\n", "is no valid YAML"),
        ("brackets 1000 deep", "eps: " + "[" * 1000, "is no valid YAML"),
        ("a date that is none", "eps: 2020-13-45", "is no valid YAML"),
        ("a number of 9999 digits", f"split_seed: {'9' * 9999}", "is no valid YAML"),
        ("a billion laughs as eps", _bomb("eps"), "eps[0] is a list, not a number"),
        ("a billion laughs as attacks", _bomb("attacks"), "attacks[0]: input should be a valid"),
        ("a key that contains itself", "recipes: &r {tiny: *r}\n", "unknown key 'recipes.tiny"),
        ("an unknown key", "epz: 1\n", "unknown key 'epz'. Did you mean 'eps'?"),
        ("an unknown key inside", "recipes: {light: {epoch: 3}}\n", "Did you mean 'epochs'?"),
        ("eps that is no number", "eps: .nan\n", "eps nan is not a radius"),
        ("eps that is a mapping", "eps: {a: 1}\n", "eps[0] is a dict, not a number"),
        ("no attack", "attacks: []\n", "attacks: list should have at least 1 item"),
        ("a time limit of nothing", "cell_timeout: 0\n", "cell_timeout: input should be greater"),
        ("a time limit without end", "cell_timeout: .inf\n", "cell_timeout: input should be a fin"),
    ]
    for what, text, message in texts:
        yield Row(f"YAML: {what}", partial(Site.config, text=text), message)


def _flags(given: list[str], site: Site) -> list[str]:
    return site.run(*given)


def flag_rows() -> Iterator[Row]:
    """Radii, component strings and other flags."""
    flags = [
        (["--eps", "1,,2"], "eps '' is not a number"),
        (["--eps", "0x10"], "eps '0x10' is not a number"),
        (["--eps", "1e999"], "eps 1e999 is not a radius"),
        (["--eps", "-0.1"], "eps -0.1 is not a radius"),
        (["--attack", "pgd:steps=1,steps=2"], "'steps' is given twice"),
        (["--attack", "pgd:steps='1"], "a ' is not closed"),
        (["--attack", "pgd:steps=1e999"], "steps=1e999"),
        (["--attack", "pgd:objective=worst"], "objective=worst"),
        (["--attack", "+"], "a name is missing"),
        (["--attack", "pgd\x00"], "is not a component name"),
        (["--attack", "a" * 5000], "unknown attack"),
        (["--defense", "jpeg+"], "a name is missing"),
        (["--defense", "jpeg:q=500+resnet"], "jpeg"),
        (["--defense", "jpeg"], "jpeg"),
        (["--defense", "module:no_such_module:Net"], "no_such_module"),
        (["--defense", "exported:/nowhere.pt2"], "/nowhere.pt2"),
        (["--cell-timeout", "-1"], "cell_timeout: input should be greater than 0"),
        (["--cell-timeout", "nan"], "cell_timeout: input should be a finite number"),
        (["--save-images", "-3"], "--save-images -3: give how many"),
    ]
    for given, message in flags:
        shown = " ".join(given)[:50]
        yield Row(f"flag: {shown!r}", partial(_flags, given), message)


def _replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


def _link(site: Site) -> list[str]:
    secret = site.folder / "secret.jpg"
    shutil.copy(site.place.data / "biq2021" / "Images" / "ss01 (Te0).jpg", secret)
    return site.image(lambda path: path.symlink_to(secret))


def label_rows() -> Iterator[Row]:
    """Label files of biq2021."""
    first = "ss01 (Te0).jpg"
    changes: list[tuple[str, Callable[[str], str | bytes], str]] = [
        ("empty", lambda text: "", "expected the columns 'Image Name', 'MOS', found nothing"),
        ("no text", lambda text: b"\xff\xfe\x00", "is no CSV file in UTF-8"),
        ("a web page", lambda text: "<html>" * 99, "expected the columns"),
        ("another heading", _replaced("MOS", "score"), "expected the columns"),
        ("a label that is a word", _replaced("0.9583", "good"), "label 'good' is no number"),
        ("a label that is NaN", _replaced("0.9583", "nan"), "label 'nan' is no number"),
        ("a label off its scale", _replaced("0.9583", "95.83"), "outside [0, 1]"),
        ("a decimal comma", _replaced("0.9583", "0,9583"), "numbers need a decimal point"),
        ("no label", _replaced("0.9583", ""), "no 'MOS'"),
        ("a quote that is open", lambda text: text + '"', "is no CSV file"),
        ("an image twice", lambda text: text + f"{first},0.5\n", "is listed more than once"),
        ("an image that is missing", _replaced(first, "none.jpg"), "'none.jpg'"),
        ("a path with ..", _replaced(first, "../../../../../etc/passwd"), "etc/passwd"),
        ("an absolute path", _replaced(first, "/etc/passwd"), "'/etc/passwd'"),
        ("headings alone", lambda text: text.splitlines()[0] + "\n", "no image of the official"),
    ]
    for what, change, message in changes:
        yield Row(f"labels: {what}", partial(Site.labels, change=change), message)
    yield Row("labels: an image that is a link elsewhere", _link, "lies, or leads, outside")


def png(pixels: np.ndarray[Any, Any], **how: Any) -> bytes:
    """Return an image as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **{"format": "PNG", **how})
    return file.getvalue()


def _huge_png() -> bytes:
    data = bytearray(png(np.zeros((4, 4, 3), np.uint8)))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def _holding(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def image_rows() -> Iterator[Row]:
    """Image files."""
    grey = np.full((40, 40, 3), 99, np.uint8)
    jpeg = png(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8), format="JPEG")
    contents: list[tuple[str, bytes, str]] = [
        ("a truncated JPEG", jpeg[: len(jpeg) // 2], "truncated"),
        ("a truncated PNG", png(grey)[:60], "ss01 (Te0).jpg"),
        ("nothing", b"", "cannot identify image file"),
        ("text", b"this is no image", "cannot identify image file"),
        ("a header alone", jpeg[:20], "1 of 36 images cannot be read"),
        ("a decompression bomb", _huge_png(), "more than 128 megapixels"),
        ("floats", png(np.zeros((9, 9), np.float32), format="TIFF"), "its pixels are floats"),
        ("one line of pixels", png(np.zeros((1, 90_000, 3), np.uint8)), "megapixels"),
    ]
    for what, data, message in contents:
        write = partial(_holding, data)
        yield Row(f"image: {what}", partial(Site.image, write=write), message)
    yield Row("image: a folder", lambda site: site.image(Path.mkdir), "Is a directory")


def _truncated(path: Path) -> None:
    save_file({"stages.0.weight": torch.zeros(64, 64)}, path)
    path.write_bytes(path.read_bytes()[:-100])


def weight_rows() -> Iterator[Row]:
    """Weights files."""
    safe, state = "w.safetensors", {"stem.weight": torch.zeros(3)}
    writers: list[tuple[str, Callable[[Path], object], str, str]] = [
        (
            "a pickle with code",
            lambda p: p.write_bytes(pickle.dumps(os.system, protocol=4)),
            "w.pth",
            "holds more than tensors",
        ),
        (
            "a whole module",
            lambda p: torch.save(torch.nn.Linear(2, 2), p),
            "w.pth",
            "holds more than tensors",
        ),
        ("nothing", lambda p: p.write_bytes(b""), "w.pth", "is no weights file"),
        ("a benchmark", lambda p: p.write_text("eps: [1, 2]"), "w.pth", "is no weights file"),
        ("text", lambda p: p.write_text("hello"), "w.pth", "is no weights file"),
        (
            "a picture",
            lambda p: p.write_bytes(b"GIF89a"),
            "w.pth",
            "is no weights file",
        ),
        ("a list", lambda p: torch.save([torch.zeros(2)], p), "w.pth", "holds no state dict"),
        ("an empty state", lambda p: torch.save({}, p), "w.pth", "holds no state dict"),
        ("another network", lambda p: torch.save(state, p), "w.pth", "is it another network?"),
        ("a truncated file of torch", lambda p: _cut(state, p), "w.pth", "cannot be read"),
        ("a truncated safetensors", _truncated, safe, "is damaged"),
        (
            "a header of 2^60 bytes",
            lambda p: p.write_bytes(struct.pack("<Q", 1 << 60) + b"{}"),
            safe,
            "is damaged",
        ),
        ("a pickle by another name", lambda p: torch.save(state, p), safe, "is damaged"),
        ("a folder", Path.mkdir, "w.pth", "Is a directory"),
    ]
    for what, write, name, message in writers:
        made = partial(Site.weights, write=write, name=name)
        yield Row(f"weights: {what}", made, message)


def _cut(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-40])


def _cell(run: Path) -> Path:
    return next(run.glob("cells/*/*/fgsm*.json"))


def _edited(**changes: object) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        document = json.loads(_cell(run).read_text())
        _cell(run).write_text(json.dumps(document | changes))

    return edit


def result_rows() -> Iterator[Row]:
    """Cell files and their columns, in ``report``."""
    damages: list[tuple[str, Callable[[Path], object], str]] = [
        ("truncated", lambda r: _cell(r).write_text(_cell(r).read_text()[:300]), "cannot be read"),
        ("no text", lambda r: _cell(r).write_bytes(b"\xff\x00"), "cannot be read"),
        ("a list", lambda r: _cell(r).write_text("[]"), "schema 'list'"),
        ("of a newer schema", _edited(schema=2), "schema 2 is newer than this iqabench"),
        ("of no schema", _edited(schema=None), "schema None"),
        ("with another key", _edited(key="0" * 16), "edited by hand?"),
        ("without metrics", _edited(metrics=None), "a finished cell has metrics"),
        ("with another seed", lambda r: _seed(_cell(r)), "edited by hand?"),
    ]
    for what, damage, message in damages:
        yield Row(f"cell: {what}", partial(Site.finished, change=damage), message)
    empty = partial(Site.finished, change=_emptied)
    yield Row("run: an empty folder", empty, "it holds no cells/*/*/*.json")
    yield Row("run: a file", lambda site: ["report", str(site.place.config)], "no results at")


def _seed(path: Path) -> None:
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 7'))


def _emptied(run: Path) -> None:
    shutil.rmtree(run / "cells")


def split_rows() -> Iterator[Row]:
    """Split files."""
    whole = {"schema": 1, "dataset": "biq2021", "origin": "x", "train": ["a"], "test": ["b"]}
    texts = [
        ("no JSON", "{", "is no split file of iqabench"),
        ("of a newer schema", json.dumps(whole | {"schema": 2}), "schema 2"),
        ("of another data set", json.dumps(whole | {"dataset": "koniq"}), "is for 'koniq'"),
        ("unknown images", json.dumps(whole), "names 2 images that biq2021 does not have"),
        ("a side that is no list", json.dumps(whole | {"train": 3}), "is no split file"),
        ("YAML in place of JSON", yaml.safe_dump(whole), "is no split file of iqabench"),
    ]
    for what, text, message in texts:
        yield Row(f"split: {what}", partial(Site.split, text=text), message)


ROWS = [
    *yaml_rows(),
    *flag_rows(),
    *label_rows(),
    *image_rows(),
    *weight_rows(),
    *result_rows(),
    *split_rows(),
]
