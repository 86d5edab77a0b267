"""A component as plain data."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from iqabench.contracts.attack import Attack
from iqabench.contracts.dataset import Dataset
from iqabench.contracts.defense import Wrapper
from iqabench.registry import Registry


def describe(registry: Registry[Any], name: str) -> dict[str, Any]:
    """Return name, owner, summary, paper, parameters and what the kind declares.

    Raises:
        IqabenchError: It is unknown or does not load.
    """
    cls = registry.get(name)
    parameters = {
        f.name: {"type": str(f.type), "default": _default(f)} for f in cls.parameter_fields()
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


def _default(parameter: dataclasses.Field[Any]) -> Any:
    return None if parameter.default is dataclasses.MISSING else parameter.default
