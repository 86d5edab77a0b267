"""Order of features: the same as torch's stable argsort."""

import pytest
import torch

from iqabench.ranking import stable_order

INF = float("inf")


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    "rows",
    [
        torch.randn(5, 3, 65, generator=torch.Generator().manual_seed(0)),
        torch.randn(5, 65, generator=torch.Generator().manual_seed(1)).round(),  # many ties
        torch.tensor([[0.0, -0.0, 0.0, -0.0], [-0.0, 1e-42, -1e-42, 0.0]]),
        torch.tensor([INF, 1.0, -INF, -1.0, 3.4e38, -3.4e38, 0.0]),
        torch.randn(65, 4, generator=torch.Generator().manual_seed(2)).T,  # not contiguous
        torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3)),
        torch.zeros(0, 4),
    ],
)
def test_the_order_is_torchs(rows: torch.Tensor, descending: bool) -> None:
    before = rows.clone()
    expected = rows.argsort(dim=-1, descending=descending, stable=True)
    assert torch.equal(stable_order(rows, descending=descending), expected)
    assert torch.equal(rows, before)


def test_no_gradient_is_followed() -> None:
    rows = torch.randn(2, 5, requires_grad=True)
    assert not stable_order(rows, descending=True).requires_grad
