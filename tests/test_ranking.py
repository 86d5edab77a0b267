"""Order of features: the same as torch's stable argsort."""

import pytest
import torch

from iqabench.ranking import TILE, entries_at_ranks, stable_order

INF = float("inf")


ROWS = pytest.mark.parametrize(
    "rows",
    [
        torch.randn(5, 3, 65, generator=torch.Generator().manual_seed(0)),
        torch.randn(5, 65, generator=torch.Generator().manual_seed(1)).round(),  # many ties
        torch.tensor([[0.0, -0.0, 0.0, -0.0], [-0.0, 1e-42, -1e-42, 0.0]]),
        torch.tensor([INF, 1.0, -INF, -1.0, 3.4e38, -3.4e38, 0.0]),
        torch.randn(65, 4, generator=torch.Generator().manual_seed(2)).T,  # not contiguous
        torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3)),
        torch.randn(TILE // 64 + 3, 64, generator=torch.Generator().manual_seed(4)).round(),
        torch.randn(3, TILE + 1, generator=torch.Generator().manual_seed(5)),
        torch.zeros(0, 4),
    ],
)
ORDERS = pytest.mark.parametrize("descending", [False, True])


@ORDERS
@ROWS
def test_the_order_is_torchs(rows: torch.Tensor, descending: bool) -> None:
    before = rows.clone()
    expected = rows.argsort(dim=-1, descending=descending, stable=True)
    assert torch.equal(stable_order(rows, descending=descending), expected)
    assert torch.equal(rows, before)


@ORDERS
@ROWS
@pytest.mark.parametrize("steps", [0, 1, 3, 10**6])
def test_entries_are_those_that_two_sorts_find(
    rows: torch.Tensor, descending: bool, steps: int
) -> None:
    before = rows.clone()
    table = torch.arange(rows.shape[-1]).clamp(max=steps).float() * 0.7  # equal from there on
    ranks = rows.argsort(dim=-1, descending=descending, stable=True).argsort(-1)
    assert torch.equal(entries_at_ranks(table, rows, descending=descending), table[ranks])
    assert torch.equal(rows, before)


def test_the_gradient_goes_to_the_table() -> None:
    rows = torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    table = torch.tensor([1.0, 2.0, 2.0], requires_grad=True)
    found = entries_at_ranks(table, rows, descending=True)
    assert found.tolist() == [[1.0, 2.0, 2.0], [2.0, 2.0, 1.0]]
    weights = torch.tensor([[10.0, 20.0, 30.0], [1.0, 2.0, 3.0]])
    (gradient,) = torch.autograd.grad((found * weights).sum(), table)

    assert gradient.tolist() == [13.0, 32.0, 21.0]


def test_no_gradient_is_followed() -> None:
    rows = torch.randn(2, 5, requires_grad=True)
    assert not stable_order(rows, descending=True).requires_grad
