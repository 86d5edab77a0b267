"""What every registered part has in common."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import Self


@dataclass(frozen=True, kw_only=True)
class Component(ABC):
    """A named, parametrised part of a benchmark cell.

    Subclasses are frozen, keyword-only dataclasses whose fields are their parameters: plain
    values (``bool``, ``int``, ``float``, ``str``, ``Literal`` or unions of them) with defaults.
    What a method learns from data while it runs is kept in fields declared with ``state()``, which
    are no parameters: they are not on the command line, in results, or in a comparison.
    """

    summary: ClassVar[str]
    """One line for ``iqabench list``."""
    paper: ClassVar[str | None] = None
    """Where the method comes from, as a URL; None for our own."""
    year: ClassVar[int | None] = None
    """Year of that paper."""
    version: ClassVar[int] = 1
    """Raise it when the same parameters would give other numbers; it is part of every key."""
    positional: ClassVar[str | None] = None
    """The parameter that a leading value without a key goes to (``art:FastGradientMethod``)."""

    @classmethod
    def parameter_fields(cls) -> list[dataclasses.Field[Any]]:
        """Return the dataclass fields that are parameters, in order of declaration."""
        return [f for f in dataclasses.fields(cls) if f.init]

    @classmethod
    def missing_declarations(cls) -> list[str]:
        """Return the class attributes without a default that this component leaves out."""
        fields = {f.name for f in dataclasses.fields(cls)}
        declared = [name for base in cls.__mro__ for name in inspect.get_annotations(base)]
        return sorted(n for n in {*declared} - fields if not hasattr(cls, n))

    def parameters(self) -> dict[str, Any]:
        """Return every parameter with its value, defaults filled in."""
        return {f.name: getattr(self, f.name) for f in self.parameter_fields()}

    def contents(self) -> Mapping[str, Path]:
        """Return the files that decide what this component computes; they are part of every key.

        Raises:
            ValueError: A parameter that names one is missing.
        """
        return {}

    def with_state(self, **values: Any) -> Self:
        """Return a copy that carries ``values`` in its ``state()`` fields.

        Raises:
            TypeError: A name is not a ``state()`` field of this component.
        """
        allowed = {f.name for f in dataclasses.fields(self) if not f.init}
        if extra := set(values) - allowed:
            raise TypeError(f"{type(self).__name__} has no state field {sorted(extra)}")
        new = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(new, name, value)
        return new


def state() -> Any:
    """Declare a dataclass field that holds what a component learnt, not a parameter.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Counter(Component):
        ...     step: int = 1
        ...     seen: int | None = state()
        >>> Counter().with_state(seen=3).seen, Counter().parameters()
        (3, {'step': 1})
    """
    return dataclasses.field(init=False, default=None, repr=False, compare=False)
