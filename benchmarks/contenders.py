"""Everyone who finds B·A ≈ W here: eckart, its bare products, and the peers with their settings."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from spectra import Array, Stored

EVERY_PRODUCT = 10**6
"""Products of a peer that reads all of W in other ways than by products."""
ITERATIONS = tuple(range(13))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a contender.

    Fields:
        rank: Columns of B.
        width: Columns beyond the rank, or a dtype.
        depth: Iterations, or a tolerance.
        variant: Normaliser or layout.
        seed: Of the run.
        memory: Measure the peak of memory too, which makes the first run a little slower.
    """

    rank: int
    width: Any = None
    depth: Any = None
    variant: str = ""
    seed: int = 0
    memory: bool = False


@dataclass(slots=True, kw_only=True)
class Answer:
    """B and A, and what the contender tells of how they were found.

    Fields:
        products: With W, of any width.
        seconds: Where the contender measured them itself.
        details: Certified gap, widths of the products.
    """

    B: Array | None = None
    A: Array | None = None
    products: int = EVERY_PRODUCT
    seconds: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What is timed, and what is done before that."""

    run: Callable[[Job], Answer]
    prepare: Callable[[Job], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Settings to try; widths and depths in their order, cheapest first."""

    widths: list[Any] = field(default_factory=lambda: [None])
    depths: list[Any] = field(default_factory=lambda: [None])
    variants: list[str] = field(default_factory=lambda: [""])


def eckart(W: Stored) -> Contender:
    """`factorize`: variant "plain", "certificate", or the "bare" products of the plain run."""
    from eckart import as_matrix, factorize

    calls: list[tuple[int, int]] = []
    inputs: dict[tuple[int, int], Array] = {}
    factorize(np.random.default_rng(0).standard_normal((1400, 1200), np.float32), 8)  # warms up

    def prepare(job: Job) -> None:
        if job.variant == "bare":
            calls.clear()
            factorize(recording(as_matrix(W), calls), job.rank, certificate=False, seed=job.seed)
            generator = np.random.default_rng(0)
            for side, width in set(calls):
                shape = (W.shape[side], width)
                inputs[side, width] = generator.standard_normal(shape, np.float32)

    def run(job: Job) -> Answer:
        if job.variant == "bare":
            for side, width in calls:
                X = inputs[side, width]
                W @ X if side else W.T @ X
            return Answer(products=len(calls), details={"widths": [width for _, width in calls]})
        found = factorize(W, job.rank, certificate=job.variant == "certificate", seed=job.seed)
        B, A, proof = found.factors.B, found.factors.A, found.certificate
        details = {"gap": proof.gap, "failure": proof.failure_probability}
        return Answer(B=B, A=A, products=found.passes, details=details)

    return Contender(run=run, prepare=prepare)


def recording(matrix: Any, calls: list[tuple[int, int]]) -> Any:
    """The matrix, noting (side, width) of every product: side 1 for W·X and 0 for Wᵀ·Y."""

    def noting(product: Callable[[Array], Array], side: int) -> Callable[[Array], Array]:
        def noted(X: Array) -> Array:
            calls.append((side, X.shape[1]))
            return product(X)

        return noted

    matrix.times = noting(matrix.times, 1)
    matrix.transposed_times = noting(matrix.transposed_times, 0)
    return matrix


def randomized_svd(W: Stored) -> Contender:
    """scikit-learn's; its normaliser "auto" is "none" or "LU" by n_iter."""
    from sklearn.utils.extmath import randomized_svd

    def run(job: Job) -> Answer:
        U, S, Vt = randomized_svd(
            W,
            job.rank,
            n_oversamples=job.width,
            n_iter=job.depth,
            power_iteration_normalizer=job.variant,
            random_state=job.seed,
        )
        return Answer(B=U * S, A=Vt, products=2 * job.depth + 2)

    return Contender(run=run)


def svd_lowrank(W: Stored) -> Contender:
    """PyTorch's, with q = rank + width; of a sparse W in either layout."""
    import torch

    if isinstance(W, np.ndarray):
        layouts = {"dense": torch.from_numpy(W)}
    else:
        parts = (torch.from_numpy(part) for part in (W.indptr, W.indices, W.data))
        compressed = torch.sparse_csr_tensor(*parts, size=W.shape)
        layouts = {"csr": compressed, "coo": compressed.to_sparse_coo().coalesce()}

    def run(job: Job) -> Answer:
        torch.manual_seed(job.seed)
        q = min(job.rank + job.width, *W.shape)
        U, S, V = torch.svd_lowrank(layouts[job.variant], q=q, niter=job.depth)
        B, A = (U * S)[:, : job.rank], V[:, : job.rank].T
        return Answer(B=B.numpy(), A=A.numpy(), products=2 * job.depth + 2)

    return Contender(run=run)


def svds(W: Stored, solver: str) -> Contender:
    """SciPy's; the width is the dtype, the depth its tolerance."""
    from scipy.sparse.linalg import LinearOperator, svds

    copies: dict[str, Stored] = {"float32": W}
    counted: list[int] = []

    def prepare(job: Job) -> None:
        if job.width not in copies:
            copies[job.width] = W.astype(job.width)

    def run(job: Job) -> Answer:
        own = copies[job.width]
        counted.clear()

        def times(X: Array) -> Array:
            counted.append(1)
            return own @ X

        def transposed_times(Y: Array) -> Array:
            counted.append(1)
            return own.T @ Y

        operator = LinearOperator(
            own.shape, times, transposed_times, times, own.dtype, transposed_times
        )
        U, S, Vt = svds(operator, k=job.rank, tol=job.depth, solver=solver, rng=job.seed)
        return Answer(B=U * S, A=Vt, products=len(counted))

    return Contender(run=run, prepare=prepare)


def svds_arpack(W: Stored) -> Contender:
    return svds(W, "arpack")


def svds_propack(W: Stored) -> Contender:
    return svds(W, "propack")


def interpolative(W: Stored) -> Contender:
    """SciPy's `interpolative.svd` in float64, of a rank above the wanted one, cut back to it."""
    from scipy.linalg.interpolative import svd

    own = W.astype(np.float64)

    def run(job: Job) -> Answer:
        found = min(job.rank + job.depth, *W.shape)
        U, S, V = svd(own, found, rand=True, rng=np.random.default_rng(job.seed))
        return Answer(B=(U * S)[:, : job.rank], A=V[:, : job.rank].T)

    return Contender(run=run)


def lapack(W: Stored) -> Contender:
    """All singular values and vectors, once for a matrix."""
    import scipy.linalg

    done: list[tuple[float, Array, Array, Array]] = []

    def run(job: Job) -> Answer:
        if not done:
            began = time.perf_counter()
            U, S, Vt = scipy.linalg.svd(W, full_matrices=False, check_finite=False)
            done.append((time.perf_counter() - began, U, S, Vt))
        seconds, U, S, Vt = done[0]
        return Answer(B=(U * S)[:, : job.rank], A=Vt[: job.rank], seconds=seconds)

    return Contender(run=run)


CONTENDERS: dict[str, Callable[[Any], Contender]] = {
    "eckart": eckart,
    "randomized_svd": randomized_svd,
    "svd_lowrank": svd_lowrank,
    "svds arpack": svds_arpack,
    "svds propack": svds_propack,
    "interpolative": interpolative,
    "LAPACK": lapack,
}
PEERS = tuple(CONTENDERS)[1:]
DENSE_ONLY = ("interpolative", "LAPACK")


def grid(name: str, rank: int, *, sparse: bool) -> Grid:
    """The settings of a peer to choose from."""
    extra = sorted({10, rank // 2, rank})
    if name == "randomized_svd":
        return Grid(widths=extra, depths=list(ITERATIONS), variants=["QR", "LU", "none"])
    if name == "svd_lowrank":
        layouts = ["csr", "coo"] if sparse else ["dense"]
        return Grid(widths=[0, *extra], depths=list(ITERATIONS), variants=layouts)
    if name.startswith("svds"):
        return Grid(widths=["float32", "float64"], depths=[0.3, 0.1, 0.03, 0.01, 1e-3, 1e-5])
    if name == "interpolative":
        return Grid(depths=[0, rank // 2, rank, 3 * rank, 7 * rank])
    return Grid()
