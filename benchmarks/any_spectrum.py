"""An attack: drawn spectra, shapes and dtypes, and a search for the worst error above the optimum.

    PYTHONPATH=tests python benchmarks/any_spectrum.py [--draws 10000] [--search 200]

The singular values are known, so the best error of the rank is. Every case is factored with and
without a certificate. An answer is measured by error/optimum, above what rounding allows: p·eps·‖W‖
with the p of LAPACK's backward errors. Run with `make bench-spectra`.
"""

import argparse
import json
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from machine import machine, prepare_processes

import eckart
from drawn import FAMILIES, SIZES, Case, Random, draw
from eckart import certificates
from eckart.engine import component_solver, components
from eckart.matrices import Streamed, standardised
from eckart.objectives import Weighted
from eckart.solvers import Davidson
from streams import InMemory

NEAR, FAR, SURE = 1.001, 1.005, 1.01
LARGEST_WEIGHTED = 700
"""Rows and columns up to which all singular values of a weighted matrix are computed."""
OUTLYING = 1.5
"""Deviation of the logarithm of what inputs of a layer are long."""
NEAR_RANK = 2e-3
"""What a search for the rank may have above the best error of the drawn one."""


class Answer(NamedTuple):
    """One run: of what, and how far from the best.

    Fields:
        ratio: error / optimum, after what rounding allows was taken off the error.
        grade: Of the outcome.
        gap: That is certified; None where nothing is.
        violated: Whether the bound is above the optimum.
        off: Of singular values, in p·eps·σ₁, where the run gives any; of a rank that was looked
            for, how many more than needed.
    """

    family: str
    who: str
    seed: int
    ratio: float
    grade: str
    gap: float | None
    violated: bool
    seconds: float
    off: float = 0.0


class Reached(NamedTuple):
    """What came of one run.

    Fields:
        error: Of the factors, measured in float64.
        run: The run.
        values: The singular values of what was factored.
        off: As of `Answer`.
    """

    error: float
    run: Any
    values: np.ndarray
    off: float = 0.0


def main() -> None:
    options = arguments()
    prepare_processes(1)
    print(machine().rsplit("; ", 1)[0] + f"; {options.processes} processes of one thread\n")
    began = time.perf_counter()
    context = get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        whole = partial(answers, who=tuple(options.who), sizes=tuple(options.sizes))
        found = [
            one
            for group in pool.map(
                whole, range(options.first, options.first + options.draws), chunksize=8
            )
            for one in group
        ]
        report(found)
        if options.search:
            print(
                "\n| family | who | worst found by the search | after draws |\n|---|---|---:|---:|"
            )
            wanted = [(family, options.search, tuple(options.sizes)) for family in FAMILIES]
            for line in pool.map(searched, wanted):
                print(line, flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([one._asdict() for one in found]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--draws", type=int, default=10_000)
    add("--first", type=int, default=0, help="seed of the first draw")
    add("--search", type=int, default=0, help="draws of a search for the worst of each family")
    add("--who", nargs="+", default=list(RUNS), choices=list(RUNS))
    add("--sizes", nargs="+", type=int, default=list(SIZES))
    add("--processes", type=int, default=os.cpu_count())
    add("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def answers(seed: int, *, who: tuple[str, ...], sizes: tuple[int, ...]) -> list[Answer]:
    """The answers to one draw."""
    products_only()
    case = draw(Random([seed, 1]), sizes=sizes)
    W = case.matrix()
    judgements = [judged(name, case, W, seed) for name in who if suits(name, case)]
    return [one for one in judgements if one is not None]


def products_only() -> None:
    """Nobody may compute all singular values first, or all of WᵀW, however small W is."""
    certificates.SMALL_SIDE = certificates.EXACT_SIDE = 0
    component_solver.EXACT_OPERATIONS = component_solver.GRAM_BLOCKS = 0
    warnings.simplefilter("ignore")


def suits(name: str, case: Case) -> bool:
    """Whether a road takes such a matrix."""
    rows, columns = case.shape
    if name == "davidson":
        return rows >= 4 * columns
    if name == "weighted":
        return max(case.shape) <= LARGEST_WEIGHTED
    return name != "gram" or rows >= columns


def judged(name: str, case: Case, W: np.ndarray, seed: int) -> Answer | None:
    """One run held against the truth; None where the matrix is refused for its range."""
    began = time.perf_counter()
    try:
        error, run, values, off = RUNS[name](case, W)
        found = len(run.A if name in COMPONENTS else run.factors.A)
        optimum = float(np.linalg.norm(values[found:]))
    except eckart.EckartError as refused:
        if refused.code != "out-of-range":
            raise
        return None
    except Exception as failed:
        raise RuntimeError(f"draw {seed}, {name}") from failed
    seconds = time.perf_counter() - began
    proof = run.certificate
    best = proof.best_possible_error
    slack = allowed(case, values, np.float64)
    # W has the drawn singular values to its own rounding only
    slack = max(slack, allowed(case, values, case.dtype) if case.dtype == "float32" else 0.0)
    above = max(error - allowed(case, values, case.dtype), 0.0)
    ratio = above / optimum if optimum > 0 else (1.0 if above == 0 else np.inf)
    violated = best is not None and bool(best > optimum + slack)
    grade = run.outcome.grade
    return Answer(case.family, name, seed, float(ratio), grade, proof.gap, violated, seconds, off)


def allowed(case: Case, values: np.ndarray, dtype: Any) -> float:
    """What rounding of a dtype does to an error, p·eps·‖W‖."""
    return float((64 + np.sqrt(max(case.shape))) * np.finfo(dtype).eps * np.linalg.norm(values))


def factored(case: Case, W: np.ndarray, *, certificate: bool) -> Reached:
    """The error of a run of `factorize`, and the run."""
    run = eckart.factorize(
        W, case.rank, solver=eckart.BlockKrylov(), certificate=certificate, seed=case.seed
    )
    factors = run.factors.astype(np.float64)
    error = float(np.linalg.norm(W.astype(np.float64) - factors.dense()))
    return Reached(error, run, case.values)


def weighted(case: Case, W: np.ndarray) -> Reached:
    """A layer whose inputs are of very different size, a few hundreds of times the others.

    What is best then is known from all singular values of W·G^½.
    """
    generator = np.random.default_rng(case.seed)
    columns = W.shape[1]
    sizes = np.exp(OUTLYING * generator.standard_normal(columns))
    sizes[generator.integers(0, columns, 3)] *= 300.0
    X = generator.standard_normal((2 * columns, columns)) * sizes
    objective = Weighted(moments=X.T @ X)
    run = eckart.factorize(
        W, case.rank, solver=eckart.BlockKrylov(), objective=objective, seed=case.seed
    )
    exact = objective.transform_factors(
        eckart.Factors(W.astype(np.float64), np.eye(columns))
    ).dense()
    found = objective.transform_factors(run.factors.astype(np.float64)).dense()
    values = np.linalg.svd(exact, compute_uv=False)
    return Reached(float(np.linalg.norm(exact - found)), run, values)


def searched_rank(case: Case, W: np.ndarray) -> Reached:
    """A run that looks for the rank of an error which the drawn rank reaches, as layers are.

    What is off is the number of ranks above that; a rank whose error is above what was asked for
    counts as wholly wrong.
    """
    total = float(np.linalg.norm(case.values))
    wanted = max(case.optimum * (1 + NEAR_RANK), case.rounding)
    tolerance = min(wanted / total, 0.999)
    run = eckart.factorize(W, tolerance=tolerance, solver=eckart.BlockKrylov(), seed=case.seed)
    factors = run.factors.astype(np.float64)
    error = float(np.linalg.norm(W.astype(np.float64) - factors.dense()))
    if error > wanted + case.rounding:
        error = np.inf
    return Reached(error, run, case.values, float(factors.rank - case.rank))


def streamed(W: np.ndarray) -> Streamed:
    """W as a matrix that is read row by row."""
    return Streamed(InMemory(W))


def scattered(case: Case, W: np.ndarray) -> Reached:
    """Components of a sparse matrix that has the drawn values anywhere, one in a row and column."""
    del W
    generator, diagonal = np.random.default_rng(case.seed), replace(case, basis="both").matrix()
    rows, columns = (generator.permutation(length) for length in case.shape)
    return reduced(case, diagonal[rows][:, columns], solver=None, kind=scipy.sparse.csr_array)


def reduced(case: Case, W: np.ndarray, *, solver: Any, kind: Callable[[Any], Any]) -> Reached:
    """The error of components that are not centred, and how far their σ are off."""
    matrix = standardised(kind(W), centre=False)
    run = components(matrix, case.rank, solver=solver, seed=case.seed)
    exact = W.astype(np.float64)
    error = float(np.linalg.norm(exact - exact @ run.A.T.astype(np.float64) @ run.A))
    unit = (64 + np.sqrt(max(W.shape))) * np.finfo(case.dtype).eps * case.values[0]
    found = np.sqrt(np.maximum(run.squares, 0.0))
    off = float(np.abs(found - case.values[: case.rank]).max()) / unit
    return Reached(error, run, case.values, off)


RUNS = {
    "krylov": partial(factored, certificate=False),
    "krylov, certificate": partial(factored, certificate=True),
    "tolerance": searched_rank,
    "weighted": weighted,
    "components": partial(reduced, solver=None, kind=np.asarray),
    "streamed": partial(reduced, solver=None, kind=streamed),
    "sparse": scattered,
    "gram": partial(reduced, solver=eckart.GramSVD(), kind=np.asarray),
    "davidson": partial(reduced, solver=Davidson(), kind=np.asarray),
}

COMPONENTS = ("components", "streamed", "sparse", "gram", "davidson")


def report(found: list[Answer]) -> None:
    """What came of all draws, by who answered and by family."""
    print(
        "| who | family | draws | within 1.001 | above 1.005 | worst | success above 1.01 |"
        " short | median gap | violations | worst σ, p·eps·σ₁ |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    groups: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for one in found:
        groups[one.who, one.family].append(one)
        groups[one.who, "all"].append(one)
    for (who, family), group in sorted(groups.items()):
        ratios = np.array([one.ratio for one in group])
        gaps = [one.gap if one.gap is not None else np.inf for one in group]
        wrong = sum(one.ratio > SURE and one.grade == "success" for one in group)
        worst = max(group, key=lambda one: one.ratio)
        print(
            f"| {who} | {family} | {len(group)} | {np.mean(ratios <= NEAR):.2%} | "
            f"{int((ratios > FAR).sum())} | {worst.ratio:.5f} (draw {worst.seed}) | {wrong} | "
            f"{sum(one.grade == 'short' for one in group)} | {np.median(gaps):.3%} | "
            f"{sum(one.violated for one in group)} | {max(one.off for one in group):.2g} |",
            flush=True,
        )


def searched(wanted: tuple[str, int, tuple[int, ...]]) -> str:
    """The worst that a search for the largest error above the optimum finds in a family."""
    import optuna

    products_only()
    family, draws, sizes = wanted
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))

    def objective(trial: Any) -> float:
        case = draw(Suggested(trial), sizes=sizes, family=family)
        answer = judged("krylov", case, case.matrix(), case.seed)
        return min(answer.ratio, 1e6) if answer else 0.0

    study.optimize(objective, n_trials=draws)
    return f"| {family} | krylov | {study.best_value:.5f} | {draws} |"


class Suggested:
    """Choices of a search."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial

    def integer(self, name: str, low: int, high: int) -> int:
        """A whole number, of a range that does not change with other choices."""
        share = self._trial.suggest_float(name, 0.0, 1.0)
        return low + min(int(share * (high - low + 1)), high - low)

    def number(self, name: str, low: float, high: float) -> float:
        """A number."""
        return self._trial.suggest_float(name, low, high)

    def pick(self, name: str, options: Any) -> Any:
        """One of the options."""
        return options[self._trial.suggest_categorical(name, list(range(len(options))))]


if __name__ == "__main__":
    main()
