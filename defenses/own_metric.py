"""Any trained metric of the user's: a class with a weights file, or an exported program."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from iqabench.api import (
    Backbone,
    Defense,
    IncompatibleError,
    Player,
    Pretrained,
    Regressor,
    WeightsError,
    load_weights,
    no_pickles,
)


@dataclass(frozen=True, kw_only=True)
class OwnMetric(Defense):
    """Base of metrics that come trained: backbone, recipe and seed change nothing.

    The metric maps images ``(N, 3, H, W)``, RGB in ``[0, 1]``, to values ``(N,)`` or ``(N, 1)``,
    and normalises inside. Labels of another data set than it was trained on are what it is measured
    against. A fixed linear map puts its values on ``[0, 1]``.

    Attributes:
        worst: Its value for the worst quality.
        best: Its value for the best quality; below ``worst`` where lower is better, as for DMOS.
    """

    trains = False

    worst: float = 0.0
    best: float = 1.0

    def __post_init__(self) -> None:
        if self.worst == self.best:
            raise ValueError(f"worst and best are both {self.worst:g}; give the ends of its scale")

    @abstractmethod
    def metric(self) -> nn.Module:
        """Return the trained metric."""

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``; the backbone is not used."""
        return Pretrained(self.metric().eval(), self.worst, self.best)

    def players(self, regressor: Regressor) -> Mapping[str, Player]:
        """Return none: nothing is trained."""
        return {}


@dataclass(frozen=True, kw_only=True)
class ModuleMetric(OwnMetric):
    """A class of the user's: ``module:package.mod:Class,weights=FILE,worst=0,best=100``.

    The class is imported, from the working directory too, and called without arguments; the file
    has its whole state dict, as ``.safetensors`` or by ``torch.save``, which is never unpickled.

    Attributes:
        target: ``package.mod:Class`` of a ``torch.nn.Module``.
        weights: File of its weights; none takes what the class comes with.
        worst: See ``OwnMetric``.
        best: See ``OwnMetric``.
    """

    summary = "a trained metric of your own: a class and a weights file"
    positional = "target"

    target: str | None = None
    weights: str | None = None

    def contents(self) -> Mapping[str, Path]:
        """See ``Component.contents``: the class's own file, and the weights."""
        if self.target is None:
            return {}
        files = {"source": Path(inspect.getfile(self._class(self.target)))}
        return files if self.weights is None else files | {"weights": Path(self.weights)}

    def metric(self) -> nn.Module:
        """Return the class's instance with its weights.

        Raises:
            IncompatibleError: No class was given.
            WeightsError: The file is missing, damaged, or of another network.
        """
        if self.target is None:
            raise IncompatibleError("defense 'module': give its class, module:package.mod:Class")
        try:
            made = self._class(self.target)()
        except Exception as e:  # it is the user's
            raise WeightsError(
                f"{self.target} cannot be made without arguments: {type(e).__name__}: {e}"
            ) from e
        if self.weights is not None:
            load_weights(made, Path(self.weights), shown=self.target)
        return made

    @staticmethod
    def _class(target: str) -> type[nn.Module]:
        module, _, name = target.partition(":")
        if not (module and name):
            raise ValueError(f"write module:package.mod:Class, got {target!r}")
        here = str(Path.cwd())
        sys.path.insert(0, here)
        try:
            found: Any = getattr(importlib.import_module(module), name)
        except Exception as e:  # importing runs the user's code
            raise ValueError(f"{target} does not import: {type(e).__name__}: {e}") from e
        finally:
            sys.path.remove(here)
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise ValueError(f"{target} is {found!r}, not a class derived from nn.Module")
        return found


@dataclass(frozen=True, kw_only=True)
class ExportedMetric(OwnMetric):
    """A program that ``torch.export.save`` wrote: ``exported:FILE.pt2,worst=0,best=100``.

    It needs no code of the user's. Export it with a dynamic batch dimension, in eval mode, for
    images of the size that the recipe crops; its gradient is that of its operations.

    Attributes:
        program: The ``.pt2`` file.
        worst: See ``OwnMetric``.
        best: See ``OwnMetric``.
    """

    summary = "a trained metric of your own: a program saved by torch.export"
    positional = "program"

    program: str | None = None

    def contents(self) -> Mapping[str, Path]:
        """See ``Component.contents``."""
        return {} if self.program is None else {"program": Path(self.program)}

    def metric(self) -> nn.Module:
        """Return the program as a module.

        Raises:
            IncompatibleError: No program was given.
            WeightsError: The file is missing, or no exported program.
        """
        if self.program is None:
            raise IncompatibleError("defense 'exported': give its file, exported:FILE.pt2")
        try:
            with no_pickles(), _hushed():
                program = torch.export.load(self.program).module()
        except Exception as e:  # a damaged archive may fail anywhere
            why = str(e).strip().split("\n")[0] or type(e).__name__
            if "warnings above" in why:  # which are hushed
                why = "torch.export cannot make sense of this archive"
            raise WeightsError(f"{self.program} is no exported program: {why}") from e
        # A program has no modes, and raises where it is asked for one.
        program.train = lambda mode=True: program  # type: ignore[method-assign]
        program.eval = lambda: program  # type: ignore[method-assign]
        return program


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep torch from logging the traceback of an error that it then raises."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
