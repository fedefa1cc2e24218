"""Sets of embedding windows, kept in float32, and the Gaussian fitted to them block by block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audioptq.score.embeddings import Embeddings
from audioptq.score.usable import damaged

FloatArray = NDArray[np.float64]
# Windows that are widened to float64 at a time: 32 MB at 1024 dimensions.
BLOCK = 4096


@dataclass(frozen=True)
class Gaussian:
    """Mean `[dim]` and covariance `[dim, dim]` (ddof = 1) of a set, and its number of windows, None where unknown."""

    n_windows: int | None
    mean: FloatArray
    covariance: FloatArray

    @classmethod
    def of_statistics(cls, embeddings: Embeddings) -> "Gaussian":
        """Takes over published statistics.

        Raises:
            DamagedArtifactError: If shapes disagree, a value is not finite, or the covariance is none.
        """
        mean, covariance = (embeddings.tensors[name].astype(np.float64) for name in ("mean", "covariance"))
        check_statistics(mean, covariance, embeddings.path)
        n_windows = embeddings.metadata.get("n_windows")
        return cls(None if n_windows is None else int(n_windows), mean, covariance)

    def fit(self, counts: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The same fit for every draw, as `bootstrap_exact.ClipMoments.fit` returns them, `[1, ...]`: a set that is not drawn."""
        return np.array([np.inf]), self.mean[None], self.covariance[None]


def check_statistics(mean: FloatArray, covariance: FloatArray, source: str) -> None:
    """Raises DamagedArtifactError unless `mean` `[dim]` and `covariance` `[dim, dim]` can be those of a set of windows."""
    dim = mean.shape[0] if mean.ndim == 1 else 0
    if dim == 0 or covariance.shape != (dim, dim):
        raise damaged(source, f"mean has shape {list(mean.shape)} and covariance {list(covariance.shape)}")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise damaged(source, "its mean or covariance has values that are not finite")
    largest = np.abs(covariance).max()
    if largest == 0 or np.abs(covariance - covariance.T).max() > 1e-6 * largest:
        raise damaged(source, "its covariance is all zero or not symmetric")
    values = np.linalg.eigvalsh(covariance)
    # Rounding to float32 leaves eigenvalues of some -1e-7 of the largest.
    if values[0] < -1e-5 * values[-1]:
        raise damaged(source, "its covariance has negative eigenvalues, which no set of windows has")


@dataclass(frozen=True)
class WindowSet:
    """Windows of some clips within a larger array, which is not copied.

    Attributes:
        windows: `[rows, dim]`, of any float type.
        clip: Index of each row's clip in the set `[rows]`, from 0; -1 for rows outside the set.
        n_clips: Clips of the set; one may have no windows.
    """

    windows: NDArray[Any]
    clip: NDArray[np.int64]
    n_clips: int

    @classmethod
    def of(cls, embeddings: Embeddings, clip_ids: Sequence[str]) -> "WindowSet":
        """The windows of these clips, which must be among those that can be scored."""
        row_of = embeddings.row_of()
        index_of_row = np.full(len(embeddings.clip_ids), -1, dtype=np.int64)
        index_of_row[[row_of[clip_id] for clip_id in clip_ids]] = np.arange(len(clip_ids))
        clip = index_of_row[embeddings.tensors["window_row"].astype(np.int64)]
        return cls(embeddings.tensors["windows"], clip, len(clip_ids))

    @classmethod
    def whole(cls, windows: NDArray[Any]) -> "WindowSet":
        """All rows as one clip."""
        return cls(windows, np.zeros(len(windows), dtype=np.int64), 1)

    def __len__(self) -> int:
        """Number of windows in the set."""
        return int((self.clip >= 0).sum())

    @property
    def dim(self) -> int:
        """Dimension of a window."""
        return int(self.windows.shape[1])

    def equals(self, other: "WindowSet | None") -> bool:
        """Whether both hold the same windows of the same clips, to the bit and in one order."""
        return (
            other is not None and np.array_equal(self.clip, other.clip) and np.array_equal(self.windows, other.windows)
        )

    def counts(self) -> FloatArray:
        """Windows of each clip, `[clips]`."""
        return np.bincount(self.clip[self.clip >= 0], minlength=self.n_clips).astype(np.float64)

    def blocks(self) -> Iterator[tuple[FloatArray, NDArray[np.int64]]]:
        """Windows of the set in float64 `[n, dim]`, `BLOCK` rows or fewer at a time, and their clips `[n]`."""
        for start in range(0, len(self.windows), BLOCK):
            clip = self.clip[start : start + BLOCK]
            inside = clip >= 0
            if inside.any():
                yield self.windows[start : start + BLOCK][inside].astype(np.float64), clip[inside]

    def array(self) -> tuple[FloatArray, NDArray[np.int64]]:
        """All windows of the set at once in float64, and their clips."""
        inside = self.clip >= 0
        return self.windows[inside].astype(np.float64), self.clip[inside]

    def gaussian(self) -> Gaussian:
        """Mean and covariance, both accumulated in float64 over blocks; the covariance in a second pass, about the mean."""
        n_windows = len(self)
        mean = np.zeros(self.dim)
        for block, _ in self.blocks():
            mean += block.sum(axis=0)
        mean /= n_windows
        products = np.zeros((self.dim, self.dim))
        for block, _ in self.blocks():
            block -= mean
            products += block.T @ block
        return Gaussian(n_windows, mean, products * (1 / (n_windows - 1)))
