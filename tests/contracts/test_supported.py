"""Every solver × objective × matrix: it works, or is refused with the sentence of the docs."""

import itertools
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

import eckart
from eckart.errors import ArgumentError, ConvergenceWarning, MatrixError
from eckart.matrices import (
    Dense,
    Difference,
    Product,
    Rescaled,
    Sparse,
    Streamed,
    Transposed,
    standardised,
)
from eckart.solvers import Davidson
from streams import InMemory

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")
ROWS, COLUMNS, RANK = 60, 12, 3
DRAWN = np.random.default_rng(0)
NUMBERS = DRAWN.standard_normal((ROWS, COLUMNS))
FEW = scipy.sparse.random_array(
    (ROWS, COLUMNS),
    density=0.4,
    format="csr",
    rng=DRAWN,
    data_sampler=lambda size: 1 + DRAWN.random(size),
)
SOLVERS = {
    "ExactSVD": eckart.ExactSVD(),
    "GramSVD": eckart.GramSVD(),
    "BlockKrylov": eckart.BlockKrylov(),
    "SinglePass": eckart.SinglePass(),
    "GradientDescent": eckart.GradientDescent(epochs=5),
    "ScaledGradientDescent": eckart.ScaledGradientDescent(epochs=5),
    "Davidson": Davidson(),
    "AlternatingLeastSquares": eckart.AlternatingLeastSquares(epochs=2),
    "StochasticGradient": eckart.StochasticGradient(epochs=2),
    "GibbsSampling": eckart.GibbsSampling(samples=2, burn_in=1),
}
OBJECTIVES = {
    "Entire": lambda _: eckart.Entire(),
    "Weighted": lambda columns: eckart.Weighted(moments=np.diag(np.arange(1.0, columns + 1))),
    "Observed": lambda _: eckart.Observed(),
}
IN_MEMORY, OTHER, SCIPY, ENTRIES = range(4)
MATRICES = {
    "array": (IN_MEMORY, lambda: NUMBERS),
    "dense": (IN_MEMORY, lambda: Dense(NUMBERS)),
    "sparse": (IN_MEMORY, lambda: Sparse(FEW)),
    "rescaled": (IN_MEMORY, lambda: Rescaled(Dense(NUMBERS), 3)),
    "standardised": (IN_MEMORY, lambda: standardised(NUMBERS)),
    "factors": (OTHER, lambda: eckart.Factors(NUMBERS[:, :5], NUMBERS[:5])),
    "difference": (OTHER, lambda: Difference(Dense(NUMBERS), Dense(NUMBERS[::-1].copy()))),
    "product": (OTHER, lambda: Product(Dense(NUMBERS), np.diag(np.arange(1.0, COLUMNS + 1)))),
    "transposed": (OTHER, lambda: Transposed(Dense(NUMBERS))),
    "streamed": (OTHER, lambda: Streamed(InMemory(NUMBERS))),
    "standardised stream": (OTHER, lambda: standardised(Streamed(InMemory(NUMBERS)))),
    "SciPy sparse": (SCIPY, lambda: FEW),
    "entries": (ENTRIES, lambda: eckart.Entries.of_sparse(FEW)),
}
REASONS = dict(re.findall(r"^- ([a-d]): (.+)$", PAGE, re.MULTILINE))
SUPPORTED = {
    (solver, objective): tuple(cells.split(" | "))
    for solver, objective, cells in re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| ((?:\w+(?: \| )?){4}) \|$", PAGE, re.MULTILINE
    )
}
"""The table of the docs: for each solver and objective, one cell for each kind of matrix."""


def test_the_table_covers_every_solver_and_objective():
    assert set(SUPPORTED) == set(itertools.product(SOLVERS, OBJECTIVES))
    assert {cell for cells in SUPPORTED.values() for cell in cells} == {"works", *REASONS}


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_what_the_table_says_is_so(solver, objective, matrix):
    kind, make = MATRICES[matrix]
    cell, W = SUPPORTED[solver, objective][kind], make()
    chosen = OBJECTIVES[objective](W.shape[1])

    def run():
        with warnings.catch_warnings():
            # five epochs fall short, which is no matter here
            warnings.simplefilter("ignore", ConvergenceWarning)
            return eckart.factorize(W, RANK, objective=chosen, solver=SOLVERS[solver])

    if cell == "works":
        found = run()
        assert found.factors.shape == W.shape
        assert found.certificate.relative_error < 1
        return
    # the sentence names the kind of W
    sentence = re.escape(REASONS[cell]).replace(r"of\ W\ are", r"of\ an?\ \w+\ are")
    with pytest.raises((ArgumentError, MatrixError), match=sentence):
        run()
