"""What surrounds the code of plugins, so that one of them cannot disturb the others.

torch, numpy and python keep state that everybody in a process shares, and standard output belongs
to what people asked to see. A plugin may use neither; what it does all the same stays its own.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from iqabench.errors import CellError, IqabenchError, one_line


def _cudnn() -> tuple[bool, bool, bool]:
    flags = torch.backends.cudnn
    return flags.enabled, flags.benchmark, flags.deterministic


def _set_cudnn(values: tuple[bool, bool, bool]) -> None:
    flags = torch.backends.cudnn
    flags.enabled, flags.benchmark, flags.deterministic = values


def _set_device(device: torch.device) -> None:
    # A default of "cpu" that is set is not the same as none: every call would pass through a mode.
    torch.set_default_device(None if device.type == "cpu" else device)


_GLOBALS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "torch's global random state": (torch.get_rng_state, torch.set_rng_state),
    "numpy's global random state": (np.random.get_state, np.random.set_state),
    "python's global random state": (random.getstate, random.setstate),
    "torch's grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (torch.get_default_device, _set_device),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's deterministic mode": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch's cuDNN flags": (_cudnn, _set_cudnn),
    "the working directory": (os.getcwd, os.chdir),
}
"""What a component must leave alone: how it is read and put back."""


class Surroundings:
    """What all code of a process shares, at one moment."""

    def __init__(self) -> None:
        self._states = {name: read() for name, (read, _) in _GLOBALS.items()}

    def changed(self) -> list[str]:
        """Return what is different now."""
        return [n for n, (read, _) in _GLOBALS.items() if not same(self._states[n], read())]

    def restore(self) -> None:
        """Put everything back."""
        for name in self.changed():
            _GLOBALS[name][1](self._states[name])


@contextlib.contextmanager
def shielded() -> Iterator[Surroundings]:
    """Put back what a block changes, and send what it prints to standard error.

    For what may disturb and need not fail, such as the import of a module.
    """
    around = Surroundings()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield around
    finally:
        around.restore()


@contextlib.contextmanager
def contained(who: str) -> Iterator[None]:
    """Run code of plugins: ``shielded``, and what changed the surroundings fails.

    A draw from a global generator counts as a change: such numbers depend on what ran before.

    Args:
        who: What runs, for the message.

    Raises:
        CellError: Something shared is different afterwards. What else was raised is raised on, and
            says so too.
    """
    with shielded() as around:
        try:
            yield
        except IqabenchError:
            raise
        except Exception as e:
            if changed := around.changed():
                raise CellError(f"{one_line(e)} ({who} changed {' and '.join(changed)})") from e
            raise
        if changed := around.changed():
            raise CellError(
                f"{who} changed {' and '.join(changed)}, which all share; it was put back (a plugin"
                " leaves such state alone and draws from noise)"
            )


def same(first: Any, second: Any) -> bool:
    """Say whether two states are equal: tensors, arrays, tuples of them, or plain values."""
    if isinstance(first, torch.Tensor):
        return first.shape == second.shape and bool(torch.equal(first, second))
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    try:
        return bool(first == second)  # in one go for the 625 numbers of python's generator
    except (ValueError, RuntimeError):  # arrays or tensors inside have no one truth
        return len(first) == len(second) and all(map(same, first, second))
