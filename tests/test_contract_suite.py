"""What the contract suite asks of every component, and how it reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
import torch

from iqabench.api import Component, state
from iqabench.errors import IqabenchError
from iqabench.registry import ATTACKS, DATASETS, DEFENSES, Registry
from iqabench.testing import BrokenRuleError, check_component
from iqabench.testing.rules import one_thread, scrambled, untouched

DOC = "A component for a test.\n\nIt has one fault at most."


@pytest.mark.parametrize("registry", [ATTACKS, DATASETS, DEFENSES], ids=lambda r: str(r.kind))
def test_every_registered_name_loads_and_passes(registry: Registry[Any]) -> None:
    assert registry.names()
    for name in {*registry.names()} - {"pyiqa"}:  # test_pyiqa_bridge.py, with a stand-in
        check_component(registry.get(name))


def made(decorate: bool = True, kw_only: bool = True, **members: Any) -> Any:
    names = {"__doc__": DOC, "__module__": __name__, "summary": "a summary", **members}
    cls = type("Mutant", (Component,), names)
    return dataclass(frozen=True, kw_only=kw_only)(cls) if decorate else cls


@dataclass(frozen=True, kw_only=True)
class Everything(Component):
    """One parameter of every kind that the grammar knows.

    The values are chosen to be awkward to write.
    """

    summary = "one of each"
    positional = "text"

    flag: bool = True
    count: int = -3
    ratio: float = 1e-7
    large: float = 1e22
    text: str = "a,b+c='d'"
    empty: str = ""
    word: str = "none"
    choice: Literal["median"] | float = "median"
    nothing: int | None = None
    learnt: int | None = state()


def test_every_plain_kind_of_parameter_passes() -> None:
    assert check_component(Everything) == Everything()
    assert check_component(Everything(choice=0.5, nothing=3, text="true")).nothing == 3


MUTANTS: list[tuple[dict[str, Any], str]] = [
    ({"decorate": False}, r"is not decorated with @dataclass"),
    ({"summary": ""}, r"has no one-line summary"),
    ({"summary": "two\nlines"}, r"has no one-line summary"),
    ({"__doc__": None}, r"has no docstring of its own"),
    ({"__doc__": "One line."}, r"has a docstring of one line"),
    ({"paper": "Xie 2020"}, r"gives 'Xie 2020' as its paper"),
    ({"year": "2020"}, r"gives '2020' as its year"),
    ({"version": 0}, r"has the version 0"),
    ({"positional": "b"}, r"names 'b' as positional"),
    (
        {"kw_only": False, "__annotations__": {"b": float}, "b": 1.0},
        r"has the parameter 'b' that is not keyword-only",
    ),
    ({"__annotations__": {"b": float}}, r"has the parameter 'b' without a plain default"),
    (
        {"__annotations__": {"b": list}, "b": field(default_factory=list)},
        r"has the parameter 'b' without a plain default",
    ),
    ({"__annotations__": {"b": tuple}, "b": (1, 2)}, r"has the parameter 'b' that is \(1, 2\)"),
    ({"__annotations__": {"b": int}, "b": 0.5}, r"is written as 'component:b=0.5' and not read"),
    ({"__annotations__": {"b": float}, "b": float("nan")}, r"not equal to another|not read back"),
    ({"__init__": lambda self, **kwargs: None}, r"takes \*\*kwargs"),
    ({"__eq__": object.__eq__}, r"is not equal to another of its kind"),
]


@pytest.mark.parametrize(("members", "message"), MUTANTS)
def test_a_broken_component_is_caught(members: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=rf"^Mutant .*{message}"):
        check_component(made(**members))


def test_a_constructor_that_refuses_its_own_defaults_is_caught() -> None:
    def refuse(self: Any) -> None:
        raise ValueError("b must be given")

    with pytest.raises(AssertionError, match="^Mutant raised ValueError in its constructor"):
        check_component(made(__post_init__=refuse))


def test_a_broken_rule_is_an_assertion_and_no_error_of_the_command_line() -> None:
    assert issubclass(BrokenRuleError, AssertionError)
    assert not issubclass(BrokenRuleError, IqabenchError)


def disturb() -> None:
    with untouched("Mutant", "a call"):
        torch.rand(3)
        np.random.rand()  # noqa: NPY002 - the fault
        torch.set_grad_enabled(False)


def test_global_state_is_put_back_after_a_fault() -> None:
    before = torch.get_rng_state()
    with pytest.raises(BrokenRuleError, match="^Mutant changes .* and torch's grad mode in a call"):
        disturb()
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)


def test_scrambled_and_one_thread_give_back_what_they_took() -> None:
    before = torch.get_rng_state(), torch.get_num_threads()
    with scrambled(1), one_thread():
        assert not torch.equal(torch.get_rng_state(), before[0])
        assert torch.get_num_threads() == 1
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]
