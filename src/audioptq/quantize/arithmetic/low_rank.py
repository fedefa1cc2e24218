"""The 16-bit branch of low rank beside a quantized weight (eqs. 6-9 of the audio-DiT paper; SVDQuant)."""

import torch
from torch import Tensor, nn

from audioptq.errors import UserError


class LowRankBranch(nn.Module):
    """Adds `x A B^T` to a layer's output (`add_branch`); it acts on the raw input, neither smoothed nor quantized.

    Attributes:
        a: `[in, rank]`, fp16.
        b: `[out, rank]`, fp16.
    """

    a: Tensor
    b: Tensor

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.register_buffer("a", a.contiguous())
        self.register_buffer("b", b.contiguous())

    def inner(self, x: Tensor) -> Tensor:
        """`x A`: `[..., in]` -> `[..., rank]`, in the dtype of `x`."""
        return x @ self.a.to(x.dtype)

    def weight(self, dtype: torch.dtype) -> Tensor:
        """The matrix `[out, in]` that the branch multiplies by: `B A^T`."""
        return self.b.to(dtype) @ self.a.to(dtype).T


def add_branch(y: Tensor, inner: Tensor, factor: Tensor) -> Tensor:
    """`y + inner factor^T` in the memory of `y`, summed in its type.

    Args:
        y: A layer's output, `[tokens, out]`.
        inner: `x A`, `[tokens, rank]`, in the type that the branch computes in.
        factor: `B`, `[out, rank]`; rounded to the type of `inner` first.
    """
    return y.addmm_(inner.to(y.dtype), factor.to(inner.dtype).to(y.dtype).T)


def truncated_svd(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors `left [m, rank]`, `right [n, rank]` of the best approximation `left right^T` of that rank.

    `left = U_r sqrt(S_r)`, `right = V_r sqrt(S_r)` (eqs. 7-8), float64. U comes from the eigenvectors of the smaller
    Gram matrix, several times faster than a full SVD. That squares singular values, so directions below 1e-8 of the
    largest one are lost; in float64 such directions are far under the rounding of a float32 matrix.
    """
    matrix = matrix.double()
    if matrix.shape[0] > matrix.shape[1]:
        right, left = truncated_svd(matrix.T, rank)
        return left, right
    rank = min(rank, matrix.shape[0])
    u = _top_eigenvectors(matrix @ matrix.T, rank)
    projected = matrix.T @ u
    singular = projected.norm(dim=0)
    root = singular.sqrt()
    return u * root, projected / torch.where(root > 0, root, 1.0)


def _top_eigenvectors(symmetric: Tensor, rank: int) -> Tensor:
    """Eigenvectors `[n, rank]` of the largest eigenvalues, the largest first."""
    if symmetric.device.type != "cpu":
        return torch.linalg.eigh(symmetric)[1][:, -rank:].flip(1)
    # LAPACK finds a few eigenvectors several times faster than all of them; torch has no name for that.
    import scipy.linalg  # here, since jobs that only load a model need none of it

    n = len(symmetric)
    _, vectors = scipy.linalg.eigh(symmetric.numpy(), subset_by_index=[n - rank, n - 1])
    return torch.from_numpy(vectors[:, ::-1].copy())


def low_rank_branch(matrix: Tensor, rank: int, in_scale: Tensor | None = None) -> LowRankBranch:
    """The fp16 branch that approximates a weight-shaped `matrix [out, in]`.

    Args:
        matrix: What to approximate.
        rank: Rank of the branch, at most the smaller side.
        in_scale: If given, `matrix * in_scale [in]` is decomposed and the scale divided out again: the approximation is
            best in the smoothed coordinates.

    Raises:
        UserError: If the factors do not fit fp16.
    """
    scale = torch.ones(()) if in_scale is None else in_scale
    scale = scale.to(matrix.device, torch.float64)
    b, a = truncated_svd(matrix * scale, rank)
    a = a / scale.unsqueeze(-1)
    if not (a.half().isfinite().all() and b.half().isfinite().all()):
        raise UserError("has a low-rank branch whose factors exceed float16: its weights are too large for one.")
    return LowRankBranch(a.half(), b.half())
