"""One library tuned on validation users and measured on test users; called by `rankings.py`.

    python tuned_peer.py LIBRARY PARTS OUT TRIALS SEED

It runs in an environment of the library, so it needs only that, NumPy, SciPy and Optuna.
"""

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import optuna
import scipy.sparse

EPOCHS = 16
BEGIN = 16
K = 100


def load(path: str) -> dict[str, scipy.sparse.csr_matrix]:
    found = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in {key.partition(".")[0] for key in arrays}:
            data, indices, indptr = (arrays[f"{name}.{f}"] for f in ("data", "indices", "indptr"))
            shape = tuple(arrays[f"{name}.shape"])
            found[name] = scipy.sparse.csr_matrix((data, indices, indptr), shape=shape)
    return found


def ndcg(scores: np.ndarray, shown: scipy.sparse.csr_matrix, hidden: scipy.sparse.csr_matrix):
    scores = np.where(shown.toarray() > 0, -np.inf, scores)
    listed = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    hits = np.take_along_axis(hidden.toarray(), listed, axis=1) > 0
    gain = 1 / np.log2(np.arange(2, K + 2))
    best = np.cumsum(gain)[np.minimum(np.diff(hidden.indptr), K) - 1]
    return (hits @ gain) / best


Scorer = Callable[[scipy.sparse.csr_matrix], np.ndarray]


def fit_eckart(trial: optuna.Trial, W: scipy.sparse.csr_matrix) -> Scorer:
    from eckart import AlternatingLeastSquares, Entries, Observed, factorize, fold_in

    rank, alpha, strength = suggested(trial)
    objective = Observed(regularization=strength, unobserved_weight=alpha)
    solver = AlternatingLeastSquares(epochs=EPOCHS)
    run = factorize(
        Entries.of_sparse(W), rank, objective=objective, solver=solver, certificate=False
    )

    def score(shown: scipy.sparse.csr_matrix) -> np.ndarray:
        folded = fold_in(run.approximation, objective, Entries.of_sparse(shown), "rows")
        return folded.scores(slice(None))

    return score


def fit_irspack(trial: optuna.Trial, W: scipy.sparse.csr_matrix) -> Scorer:
    from irspack.recommenders import IALSRecommender

    rank, alpha, strength = suggested(trial)
    model = IALSRecommender(
        W, n_components=rank, alpha0=alpha, reg=strength, nu=1.0,
        train_epochs=EPOCHS, n_threads=2,
    )  # fmt: skip
    model.learn()
    return model.get_score_cold_user


def fit_implicit(trial: optuna.Trial, W: scipy.sparse.csr_matrix) -> Scorer:
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=trial.suggest_int("rank", 8, 256, log=True),
        regularization=trial.suggest_float("regularization", 1e-3, 100, log=True),
        alpha=trial.suggest_float("alpha", 0.1, 300, log=True),
        iterations=EPOCHS,
        num_threads=2,
        random_state=0,
    )
    model.fit(W, show_progress=False)

    def score(shown: scipy.sparse.csr_matrix) -> np.ndarray:
        return model.recalculate_user(np.arange(shown.shape[0]), shown) @ model.item_factors.T

    return score


def suggested(trial: optuna.Trial) -> tuple[int, float, float]:
    """The same ranges for both libraries with Rendle's loss; ν is 1, the default of both."""
    return (
        trial.suggest_int("rank", 8, 256, log=True),
        trial.suggest_float("alpha", 3e-3, 10.0, log=True),
        trial.suggest_float("regularization", 1e-4, 0.3, log=True),
    )


FITS = {"eckart": fit_eckart, "irspack": fit_irspack, "implicit": fit_implicit}


def tuned(judge: Callable[[optuna.Trial], float], trials: int, seed: int) -> optuna.Study:
    """Points that are the same for the same ranges, and then those of a Gaussian process.

    Of the samplers of Optuna this one owes least to luck with so few trials; it takes PyTorch.
    """
    sobol = optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sobol)
    study.optimize(judge, n_trials=min(BEGIN, trials))
    study.sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=BEGIN)
    study.optimize(judge, n_trials=max(0, trials - BEGIN))
    return study


def main() -> None:
    library, parts, out, trials, seed = sys.argv[1:]
    data = load(parts)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)

    def judge(trial: optuna.Trial) -> float:
        score = FITS[library](trial, data["train"])
        shown, hidden = data["validation_shown"], data["validation_hidden"]
        return float(ndcg(score(shown), shown, hidden).mean())

    began = time.perf_counter()
    params = tuned(judge, int(trials) - 1, int(seed)).best_params
    score = FITS[library](optuna.trial.FixedTrial(params), data["train"])
    seconds = time.perf_counter() - began
    shown, hidden = data["test_shown"], data["test_hidden"]
    each = ndcg(score(shown), shown, hidden)
    chosen = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in params.items()
    )
    np.savez(out, ndcg=each, seconds=seconds, settings=chosen)


if __name__ == "__main__":
    main()
