import numpy as np
import pytest
import torch

from audioptq.errors import UserError
from audioptq.quantize.arithmetic.low_rank import add_branch, low_rank_branch, truncated_svd

GENERATOR = torch.Generator().manual_seed(0)


def matrix(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=GENERATOR, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(20, 33), (33, 20), (16, 16)], ids=["wide", "tall", "square"])
@pytest.mark.parametrize("rank", [1, 5, 16])
def test_residual_is_the_least_possible(shape, rank):
    m = matrix(*shape)
    left, right = truncated_svd(m, rank)
    assert left.shape == (shape[0], rank)
    assert right.shape == (shape[1], rank)
    residual = (m - left @ right.T).norm().item()
    # Eckart and Young: the singular values that were cut off.
    least = np.sqrt((np.linalg.svd(m.numpy(), compute_uv=False)[rank:] ** 2).sum())
    assert residual == pytest.approx(least, rel=1e-10, abs=1e-9)
    for _ in range(5):
        other = matrix(shape[0], rank)
        best_right = torch.linalg.lstsq(other, m).solution
        assert residual <= (m - other @ best_right).norm().item() + 1e-9


def test_factors_share_the_singular_values_evenly():
    m = matrix(12, 18)
    left, right = truncated_svd(m, 4)
    singular = torch.linalg.svdvals(m)[:4]
    torch.testing.assert_close(left.norm(dim=0), singular.sqrt())
    torch.testing.assert_close(right.norm(dim=0), singular.sqrt())


def test_singular_values_over_seven_decades_are_kept_apart():
    u, v = torch.linalg.qr(matrix(30, 30)).Q, torch.linalg.qr(matrix(40, 30)).Q
    m = u @ torch.diag(torch.logspace(0, -7, 30, dtype=torch.float64)) @ v.T
    left, right = truncated_svd(m, 20)
    least = torch.linalg.svdvals(m)[20:].norm()
    assert (m - left @ right.T).norm() <= 1.001 * least


def test_nothing_to_approximate_gives_zero_and_the_rank_stops_at_the_shape():
    branch = low_rank_branch(torch.zeros(6, 4), rank=10)
    assert branch.a.shape == (4, 4)
    assert branch.b.shape == (6, 4)
    assert (branch.weight(torch.float32) == 0).all()


def test_the_branch_adds_the_product_with_its_weight():
    m = matrix(7, 5)
    branch = low_rank_branch(m, rank=3)
    x = matrix(2, 5)
    assert branch.a.dtype == branch.b.dtype == torch.float16
    y = matrix(2, 7)
    expected = y + x @ branch.weight(torch.float64).T
    assert add_branch(y, branch.inner(x), branch.b) is y
    torch.testing.assert_close(y, expected)


def test_scaled_coordinates_decide_what_is_approximated():
    m = matrix(10, 12)
    scale = torch.logspace(-2, 2, 12, dtype=torch.float64)
    plain, scaled = low_rank_branch(m, 3), low_rank_branch(m, 3, scale)

    def scaled_error(branch: torch.nn.Module) -> float:
        return ((m - branch.weight(torch.float64)) * scale).norm().item()

    assert scaled_error(scaled) < 0.5 * scaled_error(plain)


def test_factors_that_fp16_cannot_hold_are_refused():
    with pytest.raises(UserError, match="float16"):
        low_rank_branch(1e12 * matrix(4, 4), rank=2)
