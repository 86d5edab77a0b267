"""``benchmark.yaml``: read, checked, merged with the defaults and with flags."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
)

from iqabench.errors import ConfigError, UnknownNameError, did_you_mean
from iqabench.recipes import Recipe

MAX_EPS_255 = 255.0
_NUMERALS = set("0123456789.+-eEinfaINFA \t")
"""What a number may be written with; Python would also take 1_0 and digits of other scripts."""


def check_eps(values: Sequence[Any]) -> tuple[float, ...]:
    """Return radii in grey levels, sorted, each once.

    Raises:
        ConfigError: One is no number, negative, not finite, or above 255.

    Example:
        >>> check_eps(["4", "0.5", "4"])
        (0.5, 4.0)
    """
    radii = set()
    for place, value in enumerate(values):
        if isinstance(value, list | tuple | dict):  # never shown: aliases make it grow without end
            raise ConfigError(
                f"eps[{place}] is a {type(value).__name__}, not a number; give grey levels such as"
                " 1,2,4"
            )
        try:
            eps = to_number(value)
        except ValueError:
            raise ConfigError(
                f"eps {value!r} is not a number; give grey levels such as 1,2,4"
            ) from None
        if not (math.isfinite(eps) and 0 <= eps <= MAX_EPS_255):
            raise ConfigError(
                f"eps {value} is not a radius; give grey levels from 0 to 255 (4 means 4/255)"
            )
        radii.add(eps + 0.0)  # -0.0 and 0.0 are one radius
    if not radii:
        raise ConfigError("eps is empty; give grey levels such as 1,2,4")
    return tuple(sorted(radii))


def to_number(value: Any) -> float:
    """Return a number that somebody wrote.

    Raises:
        ValueError: It is none, or written as only Python writes numbers.
    """
    if isinstance(value, bool) or not set(str(value)) <= _NUMERALS:
        raise ValueError
    try:
        return float(value)
    except TypeError:
        raise ValueError from None


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else [value]


Specs = Annotated[list[str], BeforeValidator(_as_list)]


class DatasetConfig(BaseModel):
    """What differs for one data set; None takes the benchmark's own value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str | None = None
    backbone: str | None = None
    backbone_weights: str | None = None


@dataclass(frozen=True)
class Conditions:
    """How the networks of a data set are made.

    Attributes:
        recipe: Name of the training recipe.
        backbone: Name of the backbone.
        weights: What the backbone starts from.
        backbones: Other backbones, by name of the defense.
    """

    recipe: str
    backbone: str
    weights: str
    backbones: Mapping[str, str] = field(default_factory=dict)


class Benchmark(BaseModel):
    """A whole benchmark. ``benchmark.yaml`` at the root of the repository explains every field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    defenses: Specs = Field(min_length=1)
    if_installed: Specs
    attacks: Specs = Field(min_length=1)
    eps: Annotated[tuple[float, ...], BeforeValidator(lambda v: check_eps(_as_list(v)))]
    seeds: Annotated[list[NonNegativeInt], BeforeValidator(_as_list)] = Field(min_length=1)
    reference: str | None
    backbone: str
    backbones: dict[str, str]
    backbone_weights: str
    imagenet_norm: bool
    recipe: str
    datasets: dict[str, Annotated[DatasetConfig, BeforeValidator(lambda v: {} if v is None else v)]]
    split_seed: int = Field(ge=0)
    images: int | None = Field(ge=1)
    visibility: Annotated[list[Literal["lpips", "dists"]], BeforeValidator(_as_list)]
    data_root: Annotated[Path, AfterValidator(Path.expanduser)] | None
    score_draws: int = Field(ge=1)
    attack_draws: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    cell_timeout: float | None = Field(gt=0, allow_inf_nan=False)
    device: str
    speed: Literal["exact", "folded", "compiled"]
    recipes: dict[str, Recipe]

    def conditions(self, *specs: str) -> Conditions:
        """Return recipe, backbones and weights of a data set, nothing left open.

        A data set that says its backbone says it for every defense.

        Args:
            specs: Keys of ``datasets`` that speak for it; earlier ones win.
        """
        own = [self.datasets[spec] for spec in specs]

        def first(name: str) -> str:
            values = [getattr(config, name) for config in (*own, self)]
            return next(str(v) for v in values if v is not None)

        said = any(config.backbone is not None for config in own)
        return Conditions(
            first("recipe"),
            first("backbone"),
            first("backbone_weights"),
            {} if said else self.backbones,
        )

    def get_recipe(self, name: str) -> Recipe:
        """Return a recipe by name.

        Raises:
            UnknownNameError: There is none of that name.
        """
        if name not in self.recipes:
            raise UnknownNameError.of("recipe", name, self.recipes)
        return self.recipes[name]


def load_benchmark(
    path: Path | None, flags: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> Benchmark:
    """Return the benchmark: flags over the file over the defaults.

    Args:
        path: The user's file; None takes ``benchmark.yaml`` of the working directory if there is
            one, else the defaults alone.
        flags: Values given on the command line, by field; a given one wins even if it is falsy.
        base: Settings that a run keeps, in place of the defaults and of the working directory's
            file; what they do not have yet is the default.

    Raises:
        ConfigError: Unreadable, no YAML, an unknown key (with its path and a suggestion), or a
            value that is not allowed.
    """
    merged = {**read_yaml(defaults(), "defaults"), **(base or {})}
    source = path or (found_here() if base is None else None)
    if source is not None:
        try:
            text = source.read_text()
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigError(f"benchmark file {source} cannot be read: {e}") from e
        own = read_yaml(text, str(source))
        validate(_merge(merged, own), str(source))  # so that a flag cannot hide a bad file
        merged = _merge(merged, own)
    if "defenses" in flags:  # who names defenses wants these and no others
        merged["if_installed"] = []
    if "backbone" in flags:  # who names one wants it for every defense
        merged["backbones"] = {}
    merged = _merge(merged, flags)
    for key in set(flags) & set(DatasetConfig.model_fields):  # a flag speaks for every data set
        configs = merged["datasets"].items()
        merged["datasets"] = {name: {**(own or {}), key: flags[key]} for name, own in configs}
    return validate(merged, "command line")  # the file alone was valid


def defaults() -> str:
    """Return the text of the default benchmark."""
    return resources.files("iqabench").joinpath("benchmark.yaml").read_text()


def found_here() -> Path | None:
    """Return the ``benchmark.yaml`` of the working directory, if there is one."""
    path = Path("benchmark.yaml")
    return path if path.is_file() else None


def read_yaml(text: str, shown: str) -> dict[str, Any]:
    """Return a YAML mapping.

    Raises:
        ConfigError: No YAML, or not a mapping.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as e:  # also a 13th month, or deep nesting
        raise ConfigError(f"{shown} is no valid YAML: {' '.join(str(e).split())}") from e
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{shown} must be a mapping of keys, found {type(document).__name__}")
    return document


def validate(document: Mapping[str, Any], shown: str) -> Benchmark:
    """Return the benchmark that a document describes; see ``load_benchmark``."""
    try:
        return Benchmark.model_validate(document)
    except ValidationError as e:
        raise ConfigError(f"{shown}: {'; '.join(_explain(m) for m in e.errors())}") from e


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if not isinstance(old, Mapping):
            merged[key] = value
        elif isinstance(value, Mapping):
            merged[key] = _merge(old, value)
        elif isinstance(value, list):  # names alone: these and no others
            merged[key] = {str(name): old.get(str(name)) for name in value}
        elif value is not None:  # None leaves a mapping as it is
            merged[key] = value
    return merged


def _explain(error: Any) -> str:
    place = ""
    for step in error["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    if error["type"] == "extra_forbidden":
        known = _fields_at(error["loc"][:-1])
        return f"unknown key {place!r}.{did_you_mean(str(error['loc'][-1]), known)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{place}: {message[0].lower()}{message[1:]}"


def _fields_at(loc: Sequence[Any]) -> Sequence[str]:
    models: dict[str, type[BaseModel]] = {"recipes": Recipe, "datasets": DatasetConfig}
    return list((models[str(loc[0])] if loc else Benchmark).model_fields)
