"""Every public function, and every parameter of it, with what is of the wrong kind or range.

The law: the call works, or it ends with one of eckart's own errors, whose sentence names what is
wrong. Never an AttributeError, a TypeError or an IndexError from inside.
"""

import contextlib

import numpy as np
import pytest
import scipy.sparse

import eckart
from eckart.errors import EckartError

W = np.random.default_rng(0).standard_normal((12, 8))
FACTORS = eckart.Factors(W[:, :2], W[:2])
ENTRIES = eckart.Entries.of([0, 0, 1, 2, 3], [0, 1, 1, 2, 0], [1.0, 2.0, 3.0, 4.0, 5.0])
FLAT = eckart.Factors(np.ones((4, 1)), np.ones((1, 3)))
OFFSET = eckart.Offset(1.0, np.zeros(4), np.zeros(3), FLAT)
OBSERVED = eckart.Observed()

BAD = {
    "None": None,
    "text": "x",
    "empty text": "",
    "negative": -1,
    "zero": 0,
    "a fraction": 1.5,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "huge": 10**30,
    "complex": 1j,
    "true": True,
    "bytes": b"x",
    "a list": [1, 2],
    "a nested list": [[1.0], [2.0, 3.0]],
    "an empty list": [],
    "a dictionary": {"a": 1},
    "an object": object(),
    "a class": str,
    "one number in an array": np.array(3),
    "three dimensions": np.ones((2, 2, 2)),
    "an empty array": np.ones((0, 3)),
    "text in an array": np.array([["a", "b"]]),
    "objects in an array": np.array([[None, 1], [2, 3]], dtype=object),
    "dates": np.array([["2020-01-01"]], dtype="M8[D]"),
    "infinite entries": np.full((12, 8), np.inf),
    "masked": np.ma.masked_all((12, 8)),
    "a sparse list": scipy.sparse.coo_array(np.ones(3)),
    "a sparse nothing": scipy.sparse.csr_array((0, 3)),
}


def of(function, **good):
    """The function with good arguments, but for those that are given."""
    return lambda **given: function(**good | given)


def observed(**given):
    return eckart.factorize(ENTRIES, 1, objective=eckart.Observed(**given))


def reducer(**given):
    return eckart.LowRankReducer(**{"n_components": 2} | given).fit(W)


def restored(X):
    return eckart.LowRankReducer(2).fit(W).inverse_transform(X)


WHOLE = "W rank objective solver start accuracy certificate time_limit seed on_step"
TABLE = {
    "factorize": (of(eckart.factorize, W=W, rank=2), WHOLE),
    "a rank rule": (of(eckart.factorize, W=W), "tolerance budget ratio"),
    "a start": (
        of(eckart.factorize, W=W, rank=2, solver=eckart.GradientDescent(epochs=3)),
        "start seed",
    ),
    "known entries": (of(eckart.factorize, W=ENTRIES, rank=1, objective=OBSERVED), WHOLE),
    "attributes": (observed, "row_attributes column_attributes biases nonnegative"),
    "certify": (of(eckart.certify, W=W, factors=FACTORS), "W factors"),
    "as_matrix": (lambda W: eckart.as_matrix(W), "W"),
    "centred": (lambda W: eckart.centred(W), "W"),
    "Factors": (of(eckart.Factors, B=W, A=W.T), "B A"),
    "Factors.truncate": (FACTORS.truncate, "rank"),
    "Factors.pad": (FACTORS.pad, "rank"),
    "Factors.astype": (FACTORS.astype, "dtype"),
    "Factors.times": (lambda X: FACTORS.times(X), "X"),
    "Factors.transposed_times": (lambda Y: FACTORS.transposed_times(Y), "Y"),
    "Entries.of": (
        of(eckart.Entries.of, rows=[0, 1], columns=[0, 1], values=[1.0, 2.0]),
        "rows columns values weights shape",
    ),
    "Entries.of_sparse": (of(eckart.Entries.of_sparse), "W"),
    "AboveThreshold": (eckart.AboveThreshold, "threshold"),
    "LoRAStart": (eckart.LoRAStart, "gaussian sigma"),
    "Weighted": (of(eckart.Weighted, moments=np.eye(8)), "moments damping"),
    "Observed": (
        eckart.Observed,
        "regularization count_exponent unobserved_weight implicit_features attribute_weight",
    ),
    "Offset": (
        of(
            eckart.Offset,
            mean=0.0,
            row_bias=np.zeros(12),
            column_bias=np.zeros(8),
            factors=FACTORS,
        ),
        "mean row_bias column_bias factors",
    ),
    "Offset.predict": (of(OFFSET.predict, rows=[0], columns=[0]), "rows columns"),
    "fold_in": (
        of(eckart.fold_in, approximation=OFFSET, objective=OBSERVED, entries=ENTRIES),
        "approximation objective entries side",
    ),
    "GradientDescent": (eckart.GradientDescent, "learning_rate epochs momentum"),
    "ScaledGradientDescent": (eckart.ScaledGradientDescent, "learning_rate epochs"),
    "BlockKrylov": (eckart.BlockKrylov, "oversampling blocks memory residual"),
    "SinglePass": (eckart.SinglePass, "width"),
    "AlternatingLeastSquares": (eckart.AlternatingLeastSquares, "epochs"),
    "ConjugateGradients": (eckart.ConjugateGradients, "steps"),
    "CoordinateBlocks": (eckart.CoordinateBlocks, "width"),
    "GibbsSampling": (eckart.GibbsSampling, "samples keep"),
    "StochasticGradient": (eckart.StochasticGradient, "learning_rate epochs"),
    "read_matrix": (of(eckart.read_matrix), "path"),
    "read_factors": (of(eckart.read_factors), "path"),
    "extract_adapter": (
        of(eckart.extract_adapter, base="b", tuned="t", out="o", rank=2),
        "base tuned out rank calibration",
    ),
    "extract_adapter by a rule": (
        of(eckart.extract_adapter, base="b", tuned="t", out="o"),
        "tolerance budget ratio",
    ),
    "merge_adapters": (
        of(eckart.merge_adapters, base="b", adapters=["a"], out="o"),
        "base adapters out",
    ),
    "truncate_adapter": (
        of(eckart.truncate_adapter, folder="a", out="o", rank=1),
        "folder out rank budget",
    ),
    "verify_adapter": (
        of(eckart.verify_adapter, base="b", tuned="t", adapter="a"),
        "base tuned adapter tolerance",
    ),
    "LowRankRecommender": (
        eckart.LowRankRecommender,
        "rank regularization count_exponent unobserved_weight implicit_features attribute_weight "
        "method epochs at_least disliked scale columns seed",
    ),
    "LowRankReducer": (reducer, "n_components tol random_state center scale whiten certificate"),
    "LowRankReducer.inverse_transform": (restored, "X"),
}
CASES = [
    (name, parameter) for name, (_, parameters) in TABLE.items() for parameter in parameters.split()
]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("name", "parameter"), CASES)
@pytest.mark.filterwarnings("ignore::eckart.ConvergenceWarning", "ignore::RuntimeWarning")
def test_a_wrong_argument_is_one_sentence(name, parameter, bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(EckartError):  # anything else is a traceback
        TABLE[name][0](**{parameter: BAD[bad]})
