"""Faster networks with the same weights: batch norms folded into convolutions, and compiled parts.

A ReLU that alone sees the output of a convolution, norm or sum writes into it, and no second map is
made; convolutions that read images have a faster gradient (``subpixel``). Scores move by rounding
alone, which is checked; where a network cannot be looked through, it stays as it is. Gradients of
pixels stay whole; parameters are frozen before and after.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor, scores_and_logits
from iqabench.subpixel import SubpixelConv, suits

VERSION = 2
"""Raise it when a quickened network would give a cell other numbers."""
Speed = Literal["exact", "folded", "compiled"]
TOLERANCE = 1e-5
"""How far the scores may move."""
_IMAGES = 2


def quicken(regressor: Regressor, speed: Speed, crop: int) -> str | None:
    """Make a regressor faster, in place, unless that moves its scores too far.

    Args:
        regressor: Frozen, in eval mode, where it runs.
        speed: ``exact`` changes nothing; ``folded`` folds batch norms; ``compiled`` folds them and
            has torch.compile translate what follows no Python.
        crop: Side of the images it will see.

    Returns:
        Why it stays, or partly stays, as it was; None if it does not.
    """
    if speed == "exact":
        return None
    before = _probe(regressor, crop)
    parts = list(_called(regressor)) if speed == "compiled" else []  # found by their batch norms
    undo = _fold(regressor)
    if not _agrees(regressor, crop, before):
        undo()
        return "with its batch norms folded its scores are others, so they are not"
    if speed == "folded":
        return None
    for module in parts:
        module.compile(dynamic=False)
    if _agrees(regressor, crop, before):
        return None if parts else "no part of it can be compiled"
    for module in parts:
        module._compiled_call_impl = None
    return "torch.compile fails here or gives other scores, so nothing is compiled"


def _probe(regressor: Regressor, crop: int) -> tuple[Tensor, Tensor]:
    """Return scores and logits of images that are noise."""
    like = next(chain(regressor.parameters(), regressor.buffers()), torch.zeros(0))
    noise = Noise(0, tuple(f"probe{i}" for i in range(_IMAGES)), scope="probe")
    images = noise.uniform("pixels", (3, crop, crop), like=like.new_zeros(0).float())
    with torch.no_grad():
        return scores_and_logits(regressor, images, noise)


def _agrees(regressor: Regressor, crop: int, before: tuple[Tensor, Tensor]) -> bool:
    try:
        after = _probe(regressor, crop)
    except Exception:  # a compiler may raise anything, and so may a method that wants its norms
        return False
    scale = before[1].abs().clamp_min(1)
    near = (
        (after[0] - before[0]).abs() <= TOLERANCE,
        (after[1] - before[1]).abs() <= (TOLERANCE * scale),
    )
    return bool(torch.stack(near).all())


def _fold(regressor: nn.Module) -> Callable[[], None]:
    """Fold what can be folded; return what takes it back."""
    taken: list[tuple[nn.Conv2d, nn.Parameter | None, nn.Parameter | None]] = []
    norms: list[tuple[nn.Module, str, nn.Module]] = []
    overwriting: list[nn.ReLU | nn.ReLU6] = []
    uses = Counter(id(m) for parent in regressor.modules() for m in parent.children())
    for owner, graph in _traced(regressor):
        readers = list(_sole_readers(owner, graph))
        for conv_path, norm_path in _pairs(owner, graph):
            conv, norm = owner.get_submodule(conv_path), owner.get_submodule(norm_path)
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            if uses[id(conv)] > 1 or uses[id(norm)] > 1:
                continue  # used in another place too, where no norm may follow
            own = conv._parameters
            taken.append((conv, own["weight"], own["bias"]))
            _absorb(conv, norm)
            parent_path, _, name = norm_path.rpartition(".")
            parent = owner.get_submodule(parent_path)
            norms.append((parent, name, norm))
            setattr(parent, name, nn.Identity().eval())
        for path in readers:
            activation = owner.get_submodule(path)
            assert isinstance(activation, nn.ReLU | nn.ReLU6)
            if uses[id(activation)] == 1 and not activation.inplace:
                activation.inplace = True
                overwriting.append(activation)

    swapped = _swap_readers(regressor)

    def undo() -> None:
        for parent, name, conv in swapped:
            setattr(parent, name, conv)
        for conv, weight, bias in taken:
            conv.register_parameter("weight", weight)
            conv.register_parameter("bias", bias)
        for parent, name, norm in norms:
            setattr(parent, name, norm)
        for activation in overwriting:
            activation.inplace = False

    return undo


def _swap_readers(regressor: nn.Module) -> list[tuple[nn.Module, str, nn.Conv2d]]:
    """Give convolutions that read images a faster gradient; return where each one stood."""
    found = [
        (parent, name, child)
        for parent in regressor.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Conv2d) and _is_plain(child, nn.Conv2d) and suits(child)
    ]
    for parent, name, conv in found:
        setattr(parent, name, SubpixelConv(conv))
    return found


def _absorb(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    layout = (
        torch.channels_last
        if conv.weight.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    conv.weight = nn.Parameter(weight.contiguous(memory_format=layout), requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)


def _called(regressor: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest traced parts that are called as modules; regressors are by ``logit``."""
    for module, _ in _traced(regressor):
        if isinstance(module, Regressor):
            yield from (child for child in module.children() if _holds_norms(child))
        else:
            yield module


class _Tracer(fx.Tracer):
    """Looks into modules that hold batch norms; the others are steps of the graph."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not _holds_norms(m)


def _holds_norms(module: nn.Module) -> bool:
    return any(isinstance(m, nn.BatchNorm2d) for m in module.modules() if m is not module)


def _traced(module: nn.Module) -> Iterator[tuple[nn.Module, fx.Graph]]:
    """Yield the largest parts whose flow of data follows no Python, with their graphs."""
    if not _holds_norms(module):
        return
    try:
        graph = _Tracer().trace(module)
    except Exception:  # what cannot be traced may raise anything; its parts may do better
        for child in module.children():
            yield from _traced(child)
    else:
        yield module, graph


def _pairs(owner: nn.Module, graph: fx.Graph) -> Iterator[tuple[str, str]]:
    """Yield the paths of every convolution whose output goes to one batch norm and nowhere else."""
    modules, times = _calls(owner, graph)
    for norm in modules:
        conv = norm.args[0] if norm.args else None
        if not isinstance(conv, fx.Node) or conv not in modules or len(conv.users) > 1:
            continue
        if times[norm.target] > 1 or times[conv.target] > 1:
            continue
        if _is_plain(modules[conv], nn.Conv2d) and _has_statistics(modules[norm]):
            yield str(conv.target), str(norm.target)


def _sole_readers(owner: nn.Module, graph: fx.Graph) -> Iterator[str]:
    """Yield the paths of every ReLU whose input nobody else needs, not even a backward pass."""
    modules, times = _calls(owner, graph)
    for relu, module in modules.items():
        if not (_is_plain(module, nn.ReLU) or _is_plain(module, nn.ReLU6)):
            continue
        source = relu.args[0] if relu.args else None
        if not isinstance(source, fx.Node) or len(source.users) > 1 or times[relu.target] > 1:
            continue
        maker = modules.get(source)
        if maker is None:
            fresh = source.op == "call_function" and source.target is operator.add
        else:
            fresh = _is_plain(maker, nn.Conv2d) or _is_plain(maker, nn.BatchNorm2d)
        if fresh:
            yield str(relu.target)


def _calls(owner: nn.Module, graph: fx.Graph) -> tuple[dict[fx.Node, nn.Module], Counter[Any]]:
    """Return the module that each node calls, and how often each is called."""
    nodes = [node for node in graph.nodes if node.op == "call_module"]
    modules = {node: owner.get_submodule(str(node.target)) for node in nodes}
    return modules, Counter(node.target for node in nodes)


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Say whether a module is just that, with nothing hooked to it."""
    return type(module) is kind and not (module._forward_hooks or module._forward_pre_hooks)


def _has_statistics(module: nn.Module) -> bool:
    return (
        _is_plain(module, nn.BatchNorm2d)
        and not module.training
        and getattr(module, "running_mean", None) is not None
    )
