"""One contender on one data set: prints one JSON line. Run by recommender_speed.py.

python recommender_contender.py NAME DATA.npz RANK EPOCHS
"""

import contextlib
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

UNOBSERVED, PENALTY = 0.1, 0.003
HU_PENALTY = 1.0


def rendle_loss(X: Any, B: Any, A: Any) -> float:
    """Σ_known (1 − ŷ)² + α·Σ_all ŷ² + λ·Σ (n + α·others)·‖·‖²."""
    n_rows, n_columns = np.diff(X.indptr), np.bincount(X.indices, minlength=X.shape[1])
    down = PENALTY * (n_rows + UNOBSERVED * X.shape[1])
    across = PENALTY * (n_columns + UNOBSERVED * X.shape[0])
    loss = known(X, B, A, 1.0) + UNOBSERVED * everywhere(B, A)
    return loss + float(down @ squares(B)) + float(across @ squares(A))


def hu_loss(X: Any, B: Any, A: Any) -> float:
    """Σ_known 2·(1 − ŷ)² + Σ_others ŷ² + λ·(‖B‖² + ‖A‖²), less a constant."""
    penalty = HU_PENALTY * float(squares(B).sum() + squares(A).sum())
    return known(X, B, A, 2.0) + everywhere(B, A) + penalty


def known(X: Any, B: Any, A: Any, target: float) -> float:
    total, step = 0.0, max(1, 2**24 // B.shape[1])
    row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    for start in range(0, X.nnz, step):
        here = slice(start, start + step)
        said = np.einsum("ij,ij->i", B[row[here]], A[X.indices[here]])
        total += float(np.square(target - said, dtype=np.float64).sum())
    return total


def everywhere(B: Any, A: Any) -> float:
    return float(np.sum((B.T @ B).astype(np.float64) * (A.T @ A)))


def squares(X: Any) -> Any:
    return np.einsum("ij,ij->i", X, X, dtype=np.float64)


def solver_of(library: Any, how: Any, epochs: int) -> Any:
    return library.AlternatingLeastSquares(by=how, epochs=epochs)


def eckart(X: Any, rank: int, epochs: int, objective: str, by: str) -> list[tuple[float, float]]:
    import eckart as library
    from eckart.completion.entries import Entries

    how = {"cg": None, "exact": library.Cholesky(), "blocks": library.CoordinateBlocks()}[by]
    if objective == "rendle":
        wanted = library.Observed(unobserved_weight=UNOBSERVED, regularization=PENALTY)
        data, weights = X.data, None
    else:
        wanted = library.Observed(
            unobserved_weight=1.0, regularization=HU_PENALTY, count_exponent=0, biases=False
        )
        data, weights = X.data * 2, X.data
    coo = X.tocoo()
    entries = Entries.of(coo.row, coo.col, data, weights, X.shape)
    warm = Entries.of(coo.row[:9], coo.col[:9], data[:9], None if weights is None else weights[:9])
    library.factorize(warm, rank, objective=wanted, solver=solver_of(library, how, 1))  # compiled
    seen: list[tuple[float, float]] = []
    began = time.perf_counter()
    library.factorize(
        entries,
        rank,
        objective=wanted,
        solver=solver_of(library, how, epochs),
        on_step=lambda step: seen.append((time.perf_counter() - began, step.loss or 0.0)),
    )
    return seen


def irspack(X: Any, rank: int, epochs: int, kind: str) -> list[tuple[float, float]]:
    from irspack import IALSRecommender

    model = IALSRecommender(
        X, n_components=rank, alpha0=UNOBSERVED, reg=PENALTY, nu=1.0, solver_type=kind,
        n_threads=2, loss_type="IALSPP",
    )  # fmt: skip
    seen, spent = [], 0.0
    began = time.perf_counter()
    model.start_learning()
    spent = time.perf_counter() - began
    for _ in range(epochs):
        began = time.perf_counter()
        model.run_epoch()
        spent += time.perf_counter() - began
        seen.append((spent, rendle_loss(X, model.get_user_embedding(), model.get_item_embedding())))
    return seen


def implicit(X: Any, rank: int, epochs: int) -> list[tuple[float, float]]:
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=rank, regularization=HU_PENALTY, alpha=2.0, iterations=epochs, num_threads=2,
        use_gpu=False, random_state=0,
    )  # fmt: skip
    seen: list[tuple[float, float]] = []
    spent = [0.0]

    def note(_number: int, seconds: float, *_more: Any) -> None:
        spent[0] += seconds
        seen.append((spent[0], hu_loss(X, model.user_factors, model.item_factors)))

    model.fit(X, show_progress=False, callback=note)
    return seen


def cmfrec(X: Any, rank: int, epochs: int) -> list[tuple[float, float]]:
    from cmfrec import CMF_implicit

    model = CMF_implicit(
        k=rank, lambda_=HU_PENALTY, alpha=1.0, niter=epochs, use_cg=True, finalize_chol=False,
        nthreads=2, use_float=True, precompute_for_predictions=False, verbose=False, random_state=1,
    )  # fmt: skip
    coo = X.tocoo().astype(np.float32)
    began = time.perf_counter()
    model.fit(coo)
    return [(time.perf_counter() - began, hu_loss(X, model.A_, model.B_))]


def explicit(
    name: str, penalty: float, X: Any, values: Any, rank: int, epochs: int
) -> list[tuple[float, float]]:
    """Ratings: a tenth held out; seconds and the RMSE on it."""
    coo = X.tocoo()
    test = np.random.default_rng(1).random(X.nnz) < 0.1
    row, column = coo.row[~test], coo.col[~test]
    seen: list[tuple[float, float]] = []
    if name.startswith("eckart"):
        import eckart as library

        entries = library.Entries.of(row, column, values[~test], shape=X.shape)
        how = library.Cholesky() if name.endswith("exact") else None
        objective = library.Observed(regularization=penalty)
        warm = library.Entries.of(row[:9], column[:9], values[~test][:9])
        library.factorize(warm, rank, objective=objective, solver=solver_of(library, how, 1))
        began = time.perf_counter()
        run = library.factorize(
            entries,
            rank,
            objective=objective,
            solver=solver_of(library, how, epochs),
        )
        spent = time.perf_counter() - began
        said = run.approximation.predict(coo.row[test], coo.col[test])
    else:
        from cmfrec import CMF

        model = CMF(
            k=rank, lambda_=penalty, scale_lam=True, niter=epochs,
            use_cg=not name.endswith("exact"), finalize_chol=False, nthreads=2, use_float=True,
            precompute_for_predictions=False, verbose=False, random_state=1,
        )  # fmt: skip
        train = scipy.sparse.coo_matrix((values[~test], (row, column)), shape=X.shape)
        began = time.perf_counter()
        model.fit(train)
        spent = time.perf_counter() - began
        said = model.predict(coo.row[test], coo.col[test])
    seen.append((spent, float(np.sqrt(np.mean((said - values[test]) ** 2)))))
    return seen


def main() -> None:
    name, path, rank, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    warnings.simplefilter("ignore")
    with np.load(path) as stored:
        shape = tuple(int(length) for length in stored["shape"])
        ones = np.ones(len(stored["row"]), np.float32)
        X = scipy.sparse.csr_matrix((ones, (stored["row"], stored["column"])), shape=shape)
        values = None
        if name.split(":")[0] == "ratings":
            order = scipy.sparse.csr_matrix(
                (stored["rating"], (stored["row"], stored["column"])), shape=shape
            )
            values = order.data
    kind, *more = name.split(":")
    with contextlib.redirect_stdout(sys.stderr):
        if kind == "ratings":
            seen = explicit(more[0], float(more[1]), X, values, rank, epochs)
        elif kind == "eckart":
            seen = eckart(X, rank, epochs, *more)
        else:
            seen = {"irspack": irspack, "implicit": implicit, "cmfrec": cmfrec}[kind](
                X, rank, epochs, *more
            )
    said = {"name": name, "rank": rank, "epochs": epochs, "seen": seen, "peak_gib": peak()}
    print(json.dumps(said))


def peak() -> float:
    """GiB of this process alone; what getrusage says holds for the one that started it too."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


main()
