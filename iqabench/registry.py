"""Components by name.

A name is an entry point, ours like anyone else's: looking names up imports nothing, so that listing
them is fast and one broken plugin cannot break the others.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import sys
import types
import typing
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

import pydantic

from iqabench.containment import shielded
from iqabench.contracts.attack import Attack
from iqabench.contracts.component import Component
from iqabench.contracts.dataset import Dataset
from iqabench.contracts.defense import Defense, Wrapper
from iqabench.errors import (
    AmbiguousNameError,
    ParamError,
    PluginLoadError,
    UnknownNameError,
    WeightsError,
    did_you_mean,
)
from iqabench.files import hash_file
from iqabench.specs import Argument, Part, format_part, format_value

C = TypeVar("C", bound=Component)
OURS = "iqabench"
REINSTALL = " (Just added? Names are read at install time: run 'pip install -e .' again.)"


@dataclasses.dataclass(frozen=True)
class Named(Generic[C]):
    """A component that was built from a spec, with the name it goes by.

    Attributes:
        component: The component itself.
        name: Its name; ``dist/name`` if it is not ours, so that what else is installed cannot
            change what the name means.
        identity: Distribution, name and version of the component, for keys and provenance.
    """

    component: C
    name: str
    identity: str

    @cached_property
    def canonical(self) -> str:
        """The spec with every default filled in; this is what is hashed."""
        return format_part(self.name, self.component.parameters())

    @cached_property
    def label(self) -> str:
        """The spec with only what differs from the defaults; this is what people read."""
        defaults = {f.name: f.default for f in self.component.parameter_fields()}
        given = {
            key: value
            for key, value in self.component.parameters().items()
            if format_value(value) != format_value(defaults[key])
        }
        return format_part(self.name, given, self.component.positional)


@dataclasses.dataclass(frozen=True)
class Entry(Generic[C]):
    """One installed claim to a name."""

    name: str
    point: EntryPoint

    @property
    def dist(self) -> str:
        """Normalised name of the distribution that registers it."""
        return _normalise(self.point.dist.name) if self.point.dist else "unknown"

    @property
    def owner(self) -> str:
        """Distribution, version and class, for messages."""
        if self.point.dist is None:
            return self.point.value
        return f"{self.point.dist.name} {self.point.dist.version}: {self.point.value}"

    @property
    def full_name(self) -> str:
        """The name that means this claim whatever else is installed."""
        return self.name if self.dist == OURS else f"{self.dist}/{self.name}"

    def identity(self, version: int) -> str:
        """Return what goes into keys: of a plugin, the version of its distribution too."""
        release = "" if self.dist == OURS or not self.point.dist else f"=={self.point.dist.version}"
        return f"{self.dist}{release}/{self.name}@{version}"


@dataclasses.dataclass(frozen=True)
class Registry(Generic[C]):
    """The installed components of one kind.

    Attributes:
        kind: What people call it.
        group: Entry point group.
        unlisted: Groups whose names are found too, but not listed (controls of the audit).
        bases: A component is an instance of one of these.
    """

    kind: str
    group: str
    bases: tuple[type[C], ...]
    unlisted: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """Return every usable name, sorted, without importing any component.

        A name claimed twice appears as ``dist/name`` for each claim but a built-in's.
        """
        return sorted(
            name if entry.dist == OURS or len(entries) == 1 else entry.full_name
            for name, entries in self._claims(self.group).items()
            for entry in entries
        )

    def built_in(self) -> list[str]:
        """Return the names that always mean ours, listed or not."""
        claims = self._claims(self.group, *self.unlisted)
        return sorted(name for name, found in claims.items() if any(e.dist == OURS for e in found))

    def entry(self, name: str) -> Entry[C]:
        """Return the claim that ``name`` or ``dist/name`` means.

        Raises:
            UnknownNameError: Nothing is registered under that name.
            AmbiguousNameError: Several distributions register it, and none of them is ours.
        """
        dist, _, bare = name.rpartition("/")
        claims = self._claims(self.group, *self.unlisted).get(bare, [])
        if dist:
            claims = [e for e in claims if e.dist == _normalise(dist)]
        if not claims:
            raise UnknownNameError.of(self.kind, name, self.names(), REINSTALL)
        ours = [e for e in claims if e.dist == OURS]
        if len(claims) > 1 and not ours:
            owners = " and ".join(e.owner for e in claims)
            names = " or ".join(e.full_name for e in claims)
            raise AmbiguousNameError(f"{self.kind} {name!r} is registered by {owners}; say {names}")
        return ours[0] if ours else claims[0]

    def get(self, name: str) -> type[C]:
        """Import and return the class registered as ``name``.

        Raises:
            UnknownNameError: Nothing is registered under that name.
            AmbiguousNameError: More than one distribution registers it.
            PluginLoadError: Its module does not import, or gives no component of this kind.
        """
        return self._load(self.entry(name))

    def create(self, part: Part) -> Named[C]:
        """Build the component that a part of a spec describes.

        Raises:
            ParamError: It takes no such parameter, or not this value.
        """
        entry = self.entry(part.name)
        cls = self._load(entry)
        shown = f"{self.kind} {part.name!r}"
        values = dict(_values(cls, part.arguments, shown))
        try:
            with shielded():
                component = cls(**values)
            contents = "".join(_contents(component))
        except (TypeError, ValueError) as e:
            raise ParamError(f"{shown}: {e}") from e
        return Named(component, entry.full_name, entry.identity(cls.version) + contents)

    def _load(self, entry: Entry[C]) -> type[C]:
        shown = f"{self.kind} {entry.name!r} ({entry.owner})"
        try:
            with shielded():  # not contained: what libraries import draws from python's generator
                cls = entry.point.load()
        except Exception as e:
            raise PluginLoadError(f"{shown} failed to load: {e}") from e
        if not (isinstance(cls, type) and issubclass(cls, self.bases)):
            wanted = " or ".join(b.__name__ for b in self.bases)
            raise PluginLoadError(f"{shown} is {cls!r}, not a class derived from {wanted}")
        if not dataclasses.is_dataclass(cls):
            raise PluginLoadError(f"{shown} is no dataclass; its fields are its parameters")
        if missing := cls.missing_declarations():
            raise PluginLoadError(f"{shown} declares no {', '.join(missing)} (class attributes)")
        return cls

    def _claims(self, *groups: str) -> dict[str, list[Entry[C]]]:
        found: defaultdict[str, list[Entry[C]]] = defaultdict(list)
        for group in groups:
            for point in entry_points(group=group):
                found[point.name].append(Entry(point.name, point))
        return dict(found)


def _contents(component: Component) -> Iterable[str]:
    """Yield what is in the files of a component, for its identity.

    Raises:
        WeightsError: One cannot be read.
    """
    for name, path in component.contents().items():
        try:
            yield f"#{name}={hash_file(path)[:16]}"
        except OSError as e:
            raise WeightsError(f"{name}={path}: cannot be read: {e.strerror or e}") from e


def _normalise(dist: str) -> str:
    return re.sub(r"[-_.]+", "-", dist).lower()


def _values(
    cls: type[Component], arguments: Iterable[Argument], shown: str
) -> Iterable[tuple[str, Any]]:
    fields = [f.name for f in cls.parameter_fields()]
    wanted = parameter_types(cls)
    for argument in arguments:
        key = argument.key or cls.positional
        takes = ", ".join(fields) or "none"
        if key is None:
            raise ParamError(
                f"{shown}: {argument.value!r} needs a key (key=value); it takes: {takes}"
            )
        if key not in fields:
            hint = did_you_mean(key, fields)
            raise ParamError(f"{shown} has no parameter {key!r}; it takes: {takes}.{hint}")
        yield key, _convert(wanted[key], argument, f"{shown}: {key}={argument.value}")


def _convert(wanted: Any, argument: Argument, shown: str) -> Any:
    options = typing.get_args(wanted) if _is_union(wanted) else (wanted,)
    if types.NoneType in options and argument.value.lower() == "none" and not argument.quoted:
        return None
    try:
        value = pydantic.TypeAdapter(wanted).validate_python(argument.value)
    except pydantic.ValidationError as e:
        what = {m["msg"][0].lower() + m["msg"][1:] for m in e.errors()}
        raise ParamError(f"{shown}: {'; '.join(sorted(what))}") from e
    if isinstance(value, float) and not math.isfinite(value):
        raise ParamError(f"{shown}: must be a finite number")
    if isinstance(value, int | float) and "_" in argument.value:  # python reads 1_0 as 10
        raise ParamError(f"{shown}: must be a number, written without _")
    return value


def parameter_types(cls: type[Component]) -> dict[str, Any]:
    """Return the type of every parameter; other annotations of the class are not looked at.

    Raises:
        PluginLoadError: One names something that its module does not have.
    """
    found: dict[str, Any] = {}
    for name in (f.name for f in cls.parameter_fields()):
        owner = next(c for c in cls.__mro__ if name in inspect.get_annotations(c))
        holder = types.SimpleNamespace(__annotations__={name: inspect.get_annotations(owner)[name]})
        try:
            found |= typing.get_type_hints(holder, vars(sys.modules[owner.__module__]))
        except Exception as e:  # whatever an annotation evaluates to
            raise PluginLoadError(
                f"{owner.__module__}.{owner.__qualname__}: the type of the parameter {name!r}"
                f" cannot be found: {e}"
            ) from e
    return found


def _is_union(wanted: Any) -> bool:
    return typing.get_origin(wanted) in (typing.Union, types.UnionType)


DEFENSES: Registry[Defense | Wrapper] = Registry(
    "defense", "iqabench.defenses", (Defense, Wrapper), unlisted=("iqabench.controls",)
)
ATTACKS: Registry[Attack] = Registry("attack", "iqabench.attacks", (Attack,))
DATASETS: Registry[Dataset] = Registry("data set", "iqabench.datasets", (Dataset,))
