"""A new plugin package: its names, its files, and the commands that come next."""

from __future__ import annotations

import builtins
import keyword
import re
import shlex
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import jinja2
import yaml

from iqabench import api
from iqabench.errors import SpecError, UsageError
from iqabench.files import new_folder
from iqabench.registry import ATTACKS, DATASETS, DEFENSES, Registry

Kind = Literal["defense", "attack", "dataset"]

LONGEST = 24
"""Characters of a name; the templates keep to lines of 100 characters up to here."""
_SMALL = "--recipe demo --backbone demo_net --backbone-weights none"
"""A first run that downloads no weights and takes minutes on a CPU."""
_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?")
_IN_TEMPLATES = {"Path", "Tensor", "Image", "Iterator", "Sequence", "MAP", "NAME", "LABELS", "F"}
_TAKEN = {*api.__all__, *dir(builtins), *_IN_TEMPLATES, "I", "O"}
"""No name for a class: bound by a template, built into Python, or hard to read."""


@dataclass(frozen=True)
class Skeleton:
    """A plugin package that is still to be written; ``plan`` checks its name.

    Attributes:
        kind: What the package adds.
        name: What people will write on the command line.
    """

    kind: Kind
    name: str

    @property
    def noun(self) -> str:
        """What people call the kind."""
        return "data set" if self.kind == "dataset" else self.kind

    @property
    def module(self) -> str:
        """Name of the module with the component.

        Example:
            >>> Skeleton("defense", "My-Net").module
            'my_net'
        """
        return self.name.replace("-", "_").lower()

    @property
    def package(self) -> str:
        """Name that the package is imported by."""
        return f"iqabench_{self.module}"

    @property
    def distribution(self) -> str:
        """Name that pip knows the package by, normalised."""
        return re.sub(r"[-_]+", "-", self.package)

    @property
    def class_name(self) -> str:
        """Name of the component's class; the kind is added where it is taken already.

        Example:
            >>> Skeleton("attack", "my-step").class_name, Skeleton("attack", "noise").class_name
            ('MyStep', 'NoiseAttack')
        """
        name = "".join(word[:1].upper() + word[1:] for word in re.split("[-_]+", self.name))
        return name + self.kind.capitalize() if name in _TAKEN else name

    def commands(self, place: str = ".") -> list[str]:
        """Return how to install, check and run the package.

        Args:
            place: Its folder, as it is to be written in the commands.
        """
        there = place if place == "." or Path(place).is_absolute() else f"./{place}"
        run = {
            "defense": f"--defense {self.name} --attack fgsm --eps 1,2,4",
            "attack": f"--defense resnet --attack {self.name} --eps 1,2,4",
            "dataset": f"--dataset {self.name} --data-root DIR {_SMALL}",
        }[self.kind]
        return [
            f"pip install -e {shlex.quote(f'{there}[test]')}",
            "python -m pytest" + ("" if place == "." else f" {shlex.quote(place)}"),
            f"iqabench run {run}",
        ]

    def files(self) -> dict[str, str]:
        """Return the text of every file, by its path in the package's folder."""
        return {
            "pyproject.toml": self._render("pyproject.toml.j2"),
            "README.md": self._render("README.md.j2"),
            f"{self.package}/__init__.py": self._render("init.py.j2"),
            f"{self.package}/{self.module}.py": self._render(f"{self.kind}.py.j2"),
            f"tests/test_{self.module}.py": self._render(f"test_{self.kind}.py.j2"),
        }

    def write(self, folder: Path) -> None:
        """Write every file, or nothing.

        Raises:
            OutputError: The folder is there and not empty, or cannot be written.
        """
        files = self.files()

        def fill(place: Path) -> None:
            for name, text in files.items():
                (place / name).parent.mkdir(exist_ok=True)
                (place / name).write_text(text, encoding="utf-8")

        new_folder(folder, fill)

    def _render(self, template: str) -> str:
        environment = jinja2.Environment(
            autoescape=False,  # plain text, and a name holds nothing that would need it
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        folder = resources.files("iqabench.skeletons") / "templates"
        text = (folder / template).read_text(encoding="utf-8")
        return environment.from_string(text).render(
            kind=self.kind,
            noun=self.noun,
            name=self.name,
            module=self.module,
            package=self.package,
            distribution=self.distribution,
            class_name=self.class_name,
            commands=self.commands(),
        )


def plan(kind: Kind, name: str) -> Skeleton:
    """Return the package of a component, if it can have that name.

    Raises:
        SpecError: The name has other characters than a component may have, is too long, or would
            be read as something else by Python or YAML.
        UsageError: A built-in component has that name, or a package is installed under it.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"bad name {name!r}: use letters, digits, '_' and '-', starting with a letter and"
            " ending with a letter or digit"
        )
    if len(name) > LONGEST:
        raise SpecError(f"bad name {name!r}: it is longer than {LONGEST} characters")
    skeleton = Skeleton(kind, name)
    if keyword.iskeyword(skeleton.module) or keyword.iskeyword(skeleton.module.capitalize()):
        raise SpecError(f"bad name {name!r}: it is a keyword of Python")
    if not isinstance(yaml.safe_load(name), str):
        raise SpecError(f"bad name {name!r}: benchmark.yaml would not read it as text")
    registries: tuple[Registry[Any], ...] = (DEFENSES, ATTACKS, DATASETS)
    for registry in registries:
        for known in registry.built_in():
            if known.replace("-", "_").lower() == skeleton.module:
                raise UsageError(
                    f"bad name {name!r}: {known!r} is a built-in {registry.kind}, and the bare name"
                    " always means the built-in"
                )
    if (installed := _installed(skeleton.distribution)) is not None:
        raise UsageError(
            f"bad name {name!r}: the package {skeleton.distribution} {installed} is installed, and"
            " installing another one of that name would replace it"
        )
    return skeleton


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
