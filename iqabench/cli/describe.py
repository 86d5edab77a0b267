"""A component as plain data."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from typing import Any

from iqabench.contracts.attack import Attack
from iqabench.contracts.dataset import Dataset
from iqabench.contracts.defense import Wrapper
from iqabench.registry import Registry, parameter_types


def describe(registry: Registry[Any], name: str) -> dict[str, Any]:
    """Return name, owner, summary, paper, parameters and what the kind declares.

    Raises:
        IqabenchError: It is unknown or does not load.
    """
    cls = registry.get(name)
    hints = parameter_types(cls)
    parameters = {
        f.name: {"type": _allowed(hints[f.name]), "default": _default(f)}
        for f in cls.parameter_fields()
    }
    facts: dict[str, Any] = {
        "name": name,
        "kind": registry.kind,
        "summary": cls.summary,
        "paper": cls.paper,
        "year": cls.year,
        "version": cls.version,
        "from": registry.entry(name).owner,
        "parameters": parameters,
        "text": inspect.cleandoc(cls.__doc__ or ""),
    }
    if issubclass(cls, Attack):
        facts |= {"threat_model": cls.threat_model, "access": cls.access, "fits": cls.needs_fit}
    if issubclass(cls, Wrapper):
        facts |= {"wraps": True, "changes_training": cls.changes_training}
    if issubclass(cls, Dataset):
        facts |= {
            "title": cls.title,
            "homepage": cls.homepage,
            "licence": cls.licence,
            "expected_images": cls.expected_images or None,
            "proxy_labels": cls.proxy_labels,
        }
    return facts


def _allowed(annotation: Any) -> str:
    """Return what a parameter takes: names of types, and the values of a ``Literal``."""
    if annotation is types.NoneType:
        return "none"
    if typing.get_origin(annotation) is typing.Literal:
        return " | ".join(map(str, typing.get_args(annotation)))
    if options := typing.get_args(annotation):
        return " | ".join(map(_allowed, options))
    return getattr(annotation, "__name__", str(annotation))


def _default(parameter: dataclasses.Field[Any]) -> Any:
    return None if parameter.default is dataclasses.MISSING else parameter.default
