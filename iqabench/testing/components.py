"""What every component has to keep."""

from __future__ import annotations

import dataclasses
import inspect
from importlib.metadata import EntryPoint
from typing import TypeVar

from iqabench.contracts.component import Component
from iqabench.errors import IqabenchError
from iqabench.registry import Entry, Registry
from iqabench.specs import format_part, parse
from iqabench.testing.rules import asking, require

C = TypeVar("C", bound=Component)
_PLAIN = (bool, int, float, str, type(None))
_ANY_NAME = "component"


def check_component(component: type[C] | C) -> C:
    """Check what attacks, defenses and data sets have in common, and return an instance.

    Args:
        component: A class, which is checked with its defaults, or an instance of one.

    Raises:
        BrokenRuleError: It is no frozen, keyword-only dataclass of plain parameters with defaults,
            lacks a summary or a docstring, or cannot be written as a spec and read again.
    """
    __tracebackhide__ = True
    cls = component if isinstance(component, type) else type(component)
    who = cls.__name__
    _check_class(cls, who)
    with asking(who, "its constructor, called with no parameters: each needs a default that works"):
        default, again = cls(), cls()
    require(default == again, who, "is not equal to another of its kind with equal parameters")
    _check_round_trip(default, who)
    if isinstance(component, type):
        return default
    _check_round_trip(component, who)
    return component


def _check_class(cls: type[Component], who: str) -> None:
    decorated = "__dataclass_params__" in vars(cls)  # and frozen, or Python refuses the class
    require(decorated, who, "is not decorated with @dataclass(frozen=True, kw_only=True)")
    for field in cls.parameter_fields():
        require(
            field.kw_only is True, who, f"has the parameter {field.name!r} that is not keyword-only"
        )
        has_default = field.default is not dataclasses.MISSING
        require(has_default, who, f"has the parameter {field.name!r} without a plain default")
    kinds = [p.kind for p in inspect.signature(cls).parameters.values()]
    require(inspect.Parameter.VAR_KEYWORD not in kinds, who, "takes **kwargs")
    summary = getattr(cls, "summary", None)
    good = isinstance(summary, str) and summary.strip() and "\n" not in summary
    require(bool(good), who, "has no one-line summary")
    text = vars(cls).get("__doc__") or ""
    own = text.strip() and not text.startswith(f"{who}(")  # what @dataclass writes by itself
    require(bool(own), who, "has no docstring of its own")
    require(
        len(text.strip().splitlines()) > 1, who, "has a docstring of one line; say how it works"
    )
    paper, year, version = cls.paper, cls.year, cls.version
    is_url = paper is None or paper.startswith(("https://", "http://"))
    require(is_url, who, f"gives {paper!r} as its paper, which is no URL")
    require(year is None or isinstance(year, int), who, f"gives {year!r} as its year")
    require(isinstance(version, int) and version > 0, who, f"has the version {version!r}, not 1, 2")
    names = [f.name for f in cls.parameter_fields()]
    known = cls.positional is None or cls.positional in names
    require(known, who, f"names {cls.positional!r} as positional, which is no parameter")


def _check_round_trip(component: Component, who: str) -> None:
    for name, value in component.parameters().items():
        plain = isinstance(value, _PLAIN)
        require(plain, who, f"has the parameter {name!r} that is {value!r}, no plain value")
    text = format_part(_ANY_NAME, component.parameters())
    try:
        again = _only(type(component)).create(parse(text)[0]).component
    except IqabenchError as e:
        again, why = None, f": {e}"
    else:
        why = f" but as {again}"
    require(again == component, who, f"is written as {text!r} and not read back as itself{why}")


def _only(cls: type[C]) -> Registry[C]:
    """Return a registry in which every name means one class, so that specs are read as always."""

    class Point(EntryPoint):
        def load(self) -> type[C]:
            return cls

    class Only(Registry[C]):
        def entry(self, name: str) -> Entry[C]:
            return Entry(name, Point(name, f"{cls.__module__}:{cls.__qualname__}", "testing"))

    return Only(_ANY_NAME, "testing", (cls,))
