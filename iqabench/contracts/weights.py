"""Weights from files: tensors by name, never objects."""

from __future__ import annotations

import contextlib
import os
import pickle
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from iqabench.errors import WeightsError


def load_state(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict from ``.safetensors``, or from a file of torch without unpickling objects.

    Raises:
        WeightsError: Missing, damaged, or anything but tensors by name.
    """
    try:
        path.open("rb").close()
    except OSError as e:
        raise WeightsError(f"weights file {path} cannot be read: {e.strerror or e}") from e
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an old pickle: what is wrong is said below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        raise WeightsError(
            f"weights file {path} holds more than tensors and is not opened (pickles can run code):"
            " save the state dict alone, best as .safetensors"
        ) from e
    except safetensors.SafetensorError as e:
        raise WeightsError(f"weights file {path} is damaged: {first_line(e)}") from e
    except (OSError, RuntimeError) as e:
        why = first_line(e) or type(e).__name__
        raise WeightsError(f"weights file {path} cannot be read: {why}") from e
    except Exception as e:  # torch reads what is no file of its own as a pickle, byte by byte
        raise WeightsError(
            f"weights file {path} is no weights file, or a damaged one ({type(e).__name__}):"
            " give .safetensors, or a state dict that torch saved"
        ) from e
    for name in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not (
        isinstance(state, dict) and state and all(isinstance(v, Tensor) for v in state.values())
    ):
        raise WeightsError(f"weights file {path} holds no state dict (tensors by name)")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


@contextlib.contextmanager
def no_pickles() -> Iterator[None]:
    """Have torch load tensors alone in a block, also where a library asks it to unpickle objects.

    Raises:
        UnpicklingError: From inside the block, where a file holds anything else.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def load_weights(module: nn.Module, path: Path, *, shown: str, within: str = "") -> None:
    """Fill a module from a file that holds all its tensors.

    Args:
        module: What is filled.
        path: ``.safetensors``, or a state dict of torch.
        shown: What people call the module.
        within: Prefix of its names in the file, without the dot; names without it will do too.

    Raises:
        WeightsError: As ``load_state``, or the file is of another network.
    """
    state = load_state(path)
    prefix = f"{within}."
    if within and any(key.startswith(prefix) for key in state):
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    needed = {k for k in module.state_dict() if not k.endswith("num_batches_tracked")}
    fill(module, state, needed, f"weights {path} for {shown}")


def fill(net: nn.Module, state: Mapping[str, Tensor], needed: Iterable[str], shown: str) -> None:
    """Copy tensors into a network.

    Args:
        net: The network.
        state: Tensors by name; all names may stand under one prefix more (``model.conv1.weight``).
        needed: Names that have to be there; others are left as they are.
        shown: What is filled from where, for messages.

    Raises:
        WeightsError: Some are missing, or of another shape.
    """
    own, needed = net.state_dict(), set(needed)
    state = _without_prefix(state, needed)
    if missing := sorted(needed - set(state)):
        raise WeightsError(
            f"{shown}: {len(missing)} of {len(needed)} tensors are missing (first: {missing[0]});"
            " is it another network?"
        )
    for key in sorted(needed):
        if own[key].shape != state[key].shape:
            raise WeightsError(
                f"{shown}: {key} has shape {tuple(state[key].shape)},"
                f" expected {tuple(own[key].shape)}; is it another network?"
            )
    net.load_state_dict({k: state[k] for k in own if k in needed}, strict=False)


def _without_prefix(state: Mapping[str, Tensor], needed: set[str]) -> Mapping[str, Tensor]:
    """Remove the shortest prefix under which every needed name stands, if there is one."""
    if not needed:
        return state
    one = min(needed)
    ends = (name for name in state if name.endswith(f".{one}"))
    for prefix in ("", *sorted((name.removesuffix(one) for name in ends), key=len)):
        if all(prefix + name in state for name in needed):
            return {name: state[prefix + name] for name in needed}
    return state


def first_line(error: Exception) -> str:
    """Return the first line of an error, not too long."""
    return str(error).strip().split("\n")[0][:160]
