"""How a broken rule is reported, and what surrounds a call that must leave no trace."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from iqabench.containment import Surroundings, same


class BrokenRuleError(AssertionError):
    """A component breaks a rule of its contract; the message is one sentence."""


def require(holds: bool, who: str, rule: str) -> None:
    """Raise unless a rule holds.

    Args:
        holds: Whether it does.
        who: Name of the checked class.
        rule: What it does wrong, going on after its name: ``moves pixels at eps 0``.

    Raises:
        BrokenRuleError: It does not.
    """
    __tracebackhide__ = True
    if not holds:
        raise BrokenRuleError(f"{who} {rule}")


@contextlib.contextmanager
def asking(who: str, what: str) -> Iterator[None]:
    """Turn whatever a component raises into a broken rule that says what was asked of it."""
    __tracebackhide__ = True
    try:
        yield
    except BrokenRuleError:
        raise
    except Exception as e:
        raise BrokenRuleError(f"{who} raised {type(e).__name__} in {what}: {e}") from e


class Network:
    """Everything in a network that a call must leave as it was."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.before = self._look()

    def changed(self) -> list[str]:
        """Return what is different now."""
        now = self._look()
        names = [k for k in now if k not in self.before or not same(self.before[k], now[k])]
        return names + [f"{k} (gone)" for k in self.before if k not in now]

    def _look(self) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for name, module in self.network.named_modules():
            seen[f"training mode of {name or 'the regressor'}"] = module.training
        for name, parameter in self.network.named_parameters():
            seen[f"parameter {name}"] = parameter.detach().clone()
            seen[f"requires_grad of {name}"] = parameter.requires_grad
            seen[f"stored gradient of {name}"] = parameter.grad is not None
        for name, buffer in self.network.named_buffers():
            seen[f"buffer {name}"] = buffer.detach().clone()
        return seen


@contextlib.contextmanager
def untouched(who: str, what: str, network: nn.Module | None = None) -> Iterator[Surroundings]:
    """Require that a block leaves the global state, and a network, as they were.

    Args:
        who: Name of the checked class.
        what: What it is asked to do, for the message.
        network: What must stay as it is.

    Raises:
        BrokenRuleError: Something is different afterwards; the global state is put back.
    """
    __tracebackhide__ = True
    around = Surroundings()
    inside = Network(network) if network is not None else None
    try:
        yield around
        require_same(around, who, what)
        changed = inside.changed() if inside else []
        require(not changed, who, f"changes the {', '.join(changed[:3])} in {what}")
    finally:
        around.restore()


def require_same(around: Surroundings, who: str, what: str) -> None:
    """Raise if the global state is not what it was; randomness comes from ``noise`` alone."""
    __tracebackhide__ = True
    changed = around.changed()
    require(not changed, who, f"changes {' and '.join(changed)} in {what}")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run a block on one thread: with several, tiny tensors wait for busy cores most of the time.

    It also serves as a decorator.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


@contextlib.contextmanager
def scrambled(seed: int) -> Iterator[None]:
    """Run a block under other global random states, and put the present ones back."""
    around = Surroundings()
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what nothing may depend on
    random.seed(seed)
    try:
        yield
    finally:
        around.restore()
