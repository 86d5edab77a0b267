"""Whether a network is still what it was: attacks share it, and none may change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from iqabench.contracts.regressor import Regressor


class NetworkState:
    """Weights, buffers, modes and hooks of a network at one moment.

    Args:
        network: It is copied: as much memory as its weights.

    Attributes:
        tolerated: What it changes by itself.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._tensors = {name: tensor.detach().clone() for name, tensor in _tensors(network)}
        self._facts = dict(_facts(network))
        self.tolerated: frozenset[str] = frozenset()

    def tolerate(self) -> None:
        """Take what has changed so far for the network's own doing, as a counter of its passes."""
        self.tolerated = frozenset(self.changed())

    def changed(self) -> list[str]:
        """Return what is different now, such as ``layer1.weight`` or ``training of layer1``."""
        now, facts = dict(_tensors(self._network)), dict(_facts(self._network))
        names = {n for n in now.keys() | self._tensors.keys() if self._differs(n, now)}
        names |= {
            n for n in facts.keys() | self._facts.keys() if facts.get(n) != self._facts.get(n)
        }
        return sorted(names - self.tolerated)

    def _differs(self, name: str, now: dict[str, Tensor]) -> bool:
        before, after = self._tensors.get(name), now.get(name)
        if before is None or after is None:
            return True
        return before.shape != after.shape or not torch.equal(before, after.detach())


class Subject:
    """An attacked regressor, made anew where an attack has changed it.

    Args:
        make: Returns it as it was trained.

    Attributes:
        stochastic: Whether its scores depend on noise.
    """

    def __init__(self, make: Callable[[], Regressor]) -> None:
        self._make = make
        self._regressor: Regressor | None = make()
        self._state = NetworkState(self._regressor)
        self.stochastic = self._regressor.stochastic

    @property
    def regressor(self) -> Regressor:
        """The regressor as it was trained; whoever asks first after a change has it made."""
        if self._regressor is None:
            made, tolerated = self._make(), self._state.tolerated
            self._regressor, self._state = made, NetworkState(made)
            self._state.tolerated = tolerated  # what it changes by itself is still its own
        return self._regressor

    def tolerate(self) -> None:
        """See ``NetworkState.tolerate``."""
        self._state.tolerate()

    def changes(self) -> list[str]:
        """Return what is different from what was trained, which is then not used again."""
        changed = [] if self._regressor is None else self._state.changed()
        if changed:
            self._regressor = None
        return changed


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(network.named_parameters(), network.named_buffers())


def _facts(network: nn.Module) -> Iterator[tuple[str, object]]:
    for name, module in network.named_modules():
        yield f"training of {name or 'the network'}", module.training
        hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks
        yield f"hooks of {name or 'the network'}", tuple(map(len, hooks))
    for name, parameter in network.named_parameters():
        yield f"requires_grad of {name}", parameter.requires_grad
