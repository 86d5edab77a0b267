"""A component as plain data."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from typing import Any

from iqabench.backbones import NO_WEIGHTS, BackboneSpec
from iqabench.chains import Chain
from iqabench.containment import shielded
from iqabench.contracts.attack import Attack
from iqabench.contracts.dataset import Dataset
from iqabench.contracts.defense import Defense, Wrapper
from iqabench.registry import Registry, parameter_types
from iqabench.routes import gradient_routes
from iqabench.seeding import lent_rng

SMALL = "demo_net"


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
    if issubclass(cls, Defense | Wrapper):
        facts |= _how_to_attack(cls, name)
    if issubclass(cls, Dataset):
        facts |= {
            "title": cls.title,
            "homepage": cls.homepage,
            "licence": cls.licence,
            "expected_images": cls.expected_images or None,
            "proxy_labels": cls.proxy_labels,
        }
    return facts


def _how_to_attack(cls: type[Defense | Wrapper], name: str) -> dict[str, Any]:
    """Return whether a defense is stochastic, and its gradient's routes, with its defaults.

    A network has to be built to know; nothing is known of what comes trained, or does not build.
    """
    unknown: dict[str, Any] = {"stochastic": None, "routes": None}
    if issubclass(cls, Defense) and not cls.trains:
        return unknown
    text = f"{name}+resnet" if issubclass(cls, Wrapper) else name
    try:
        with shielded(), lent_rng():
            regressor = Chain.parse(text).build(BackboneSpec(SMALL, NO_WEIGHTS).build()).eval()
        routes = list(gradient_routes(regressor, 1))
    except Exception:  # a plugin may raise anything, and is listed all the same
        return unknown
    return {"stochastic": regressor.stochastic, "routes": routes}


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
