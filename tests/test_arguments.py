"""Every public function, class and method, each parameter with what is of the wrong kind.

The law: the call works, or it ends with one of eckart's own errors, whose sentence names what is
wrong. Never an AttributeError, a TypeError or an IndexError from inside.
"""

import inspect
import traceback

import numpy as np
import pytest
import scipy.sparse

import eckart
from eckart.errors import EckartError

W = np.random.default_rng(0).standard_normal((12, 8))
FACTORS = eckart.Factors(W[:, :2], W[:2])
ENTRIES = eckart.Entries.of([0, 0, 1, 2, 3], [0, 1, 1, 2, 0], [1.0, 2.0, 3.0, 4.0, 5.0])
FLAT = eckart.Factors(np.ones((4, 1)), np.ones((1, 3)))
OFFSET = eckart.BiasedFactors(1.0, np.zeros(4), np.zeros(3), FLAT)
OBSERVED = eckart.Observed()
RATINGS = {"user": ["ada", "ada", "bo", "bo"], "item": ["a", "b", "a", "c"],
           "rating": [5.0, 4.0, 1.0, 2.0]}  # fmt: skip
DISHES = {"item": ["a", "b"], "size": [1.0, 2.0]}
SETTINGS = {"rank": 1, "regularization": 0.1, "epochs": 2}
DRAWN = eckart.factorize(
    ENTRIES,
    1,
    objective=OBSERVED,
    solver=eckart.GibbsSampling(samples=2, keep=1),
    certificate=False,
).approximation

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


def recommender():
    """A fitted model of one's own, which a call may change."""
    return eckart.LowRankRecommender(**SETTINGS).fit(RATINGS)


def asked(name, **good):
    """A method of a fitted recommender with good arguments, but for those that are given."""
    return lambda **given: getattr(recommender(), name)(**good | given)


def reduced(name):
    return lambda **given: getattr(eckart.LowRankReducer(2).fit(W), name)(**{"X": W} | given)


def sketch(**given):
    made = eckart.Sketch(**{"columns": 8, "rank": 2, "width": 6} | given)
    made.add(np.ones((4, made.columns)))
    return made.factors()


def sketched(name):
    return lambda **given: getattr(begun(), name)(**given)


def begun():
    made = eckart.Sketch(columns=8, rank=2)
    made.add(W)
    return made


WHOLE = "W rank objective solver start accuracy certificate time_limit seed on_step"
TABLE = {
    "factorize": (of(eckart.factorize, W=W, rank=2), WHOLE),
    "a cluster": (of(eckart.factorize, W=W, rank=2), "cluster"),
    "a rank rule": (of(eckart.factorize, W=W), "tolerance budget ratio"),
    "a start": (
        of(eckart.factorize, W=W, rank=2, solver=eckart.GradientDescent(epochs=3)),
        "start seed",
    ),
    "known entries": (of(eckart.factorize, W=ENTRIES, rank=1, objective=OBSERVED), WHOLE),
    "attributes": (observed, "row_attributes column_attributes biases nonnegative"),
    "certify": (of(eckart.certify, W=W, factors=FACTORS), "W factors singular_values loss bound"),
    "as_matrix": (lambda W: eckart.as_matrix(W), "W"),
    "centred": (lambda W: eckart.centred(W), "W"),
    "Factors": (of(eckart.Factors, B=W, A=W.T), "B A"),
    "Factors.truncate": (FACTORS.truncate, "rank"),
    "Factors.pad": (FACTORS.pad, "rank"),
    "Factors.astype": (FACTORS.astype, "dtype"),
    "Factors.scaled": (FACTORS.scaled, "factor"),
    "Factors.save": (of(FACTORS.save, path="o.npz"), "path force"),
    "Factors.times": (lambda X: FACTORS.times(X), "X"),
    "Factors.gram_times": (lambda X: FACTORS.gram_times(X), "X"),
    "Factors.transposed_times": (lambda Y: FACTORS.transposed_times(Y), "Y"),
    "Factors.row_blocks": (lambda rows: next(FACTORS.row_blocks(rows)), "rows"),
    "Entries.of": (
        of(eckart.Entries.of, rows=[0, 1], columns=[0, 1], values=[1.0, 2.0]),
        "rows columns values weights shape",
    ),
    "Entries.of_rows": (
        of(
            eckart.Entries.of_rows,
            counts=np.array([1, 1]),
            columns=np.array([0, 1], np.int32),
            values=np.array([1.0, 2.0]),
            weights=None,
            shape=(2, 2),
        ),
        "counts columns values weights shape",
    ),
    "Entries.of_sparse": (of(eckart.Entries.of_sparse), "W"),
    "Entries.row": (ENTRIES.row, "number"),
    "AboveThreshold": (eckart.AboveThreshold, "threshold"),
    "LoRAStart": (eckart.LoRAStart, "gaussian sigma"),
    "Weighted": (of(eckart.Weighted, moments=np.eye(8)), "moments damping"),
    "Observed": (
        eckart.Observed,
        "regularization count_exponent unobserved_weight implicit_features attribute_weight "
        "biases row_biases nonnegative row_attributes column_attributes",
    ),
    "BiasedFactors": (
        of(
            eckart.BiasedFactors,
            mean=0.0,
            row_bias=np.zeros(12),
            column_bias=np.zeros(8),
            factors=FACTORS,
        ),
        "mean row_bias column_bias factors extra_columns extra_rows",
    ),
    "BiasedFactors.predict": (of(OFFSET.predict, rows=[0], columns=[0]), "rows columns"),
    "BiasedFactors.scores": (OFFSET.scores, "rows"),
    "PosteriorSamples": (
        of(eckart.PosteriorSamples, draws=DRAWN.draws, noise=1.0),
        "draws noise priors",
    ),
    "PosteriorSamples.predict": (of(DRAWN.predict, rows=[0], columns=[0]), "rows columns"),
    "PosteriorSamples.deviation": (of(DRAWN.deviation, rows=[0], columns=[0]), "rows columns"),
    "PosteriorSamples.scores": (DRAWN.scores, "rows"),
    "fold_in": (
        of(eckart.fold_in, approximation=OFFSET, objective=OBSERVED, entries=ENTRIES),
        "approximation objective entries side seed cluster",
    ),
    "GradientDescent": (eckart.GradientDescent, "learning_rate epochs momentum stop_early"),
    "ScaledGradientDescent": (eckart.ScaledGradientDescent, "learning_rate epochs stop_early"),
    "BlockKrylov": (eckart.BlockKrylov, "oversampling blocks memory residual stop_early tall"),
    "SinglePass": (eckart.SinglePass, "width"),
    "Sketch": (sketch, "columns rank width dtype seed"),
    "Sketch.add": (sketched("add"), "rows"),
    "Sketch.factors": (sketched("factors"), "rank"),
    "AlternatingLeastSquares": (eckart.AlternatingLeastSquares, "by epochs stop_early"),
    "ConjugateGradients": (eckart.ConjugateGradients, "steps"),
    "CoordinateBlocks": (eckart.CoordinateBlocks, "width"),
    "GibbsSampling": (eckart.GibbsSampling, "samples burn_in keep"),
    "StochasticGradient": (eckart.StochasticGradient, "learning_rate decay epochs stop_early"),
    "read_matrix": (of(eckart.read_matrix, path="W.npy"), "path name"),
    "read_factors": (of(eckart.read_factors, path="f.npz"), "path name"),
    "extract_adapter": (
        of(eckart.extract_adapter, base="b", tuned="t", out="o", rank=2),
        "base tuned out rank tolerance_of relative overrides least most multiple include exclude "
        "dtype profile base_name calibration seed check check_forward resume force on_tensor "
        "command cluster",
    ),
    "extract_adapter by a rule": (
        of(eckart.extract_adapter, base="b", tuned="t", out="o"),
        "tolerance budget ratio",
    ),
    "finetune": (
        of(eckart.finetune, model="m", table="t.csv", out="o"),
        "model table out text label task validation share rank alpha targets start "
        "head_steps optimizer learning_rate head_rate weight_decay clip epochs batch "
        "length dropout patience time_limit seed resume force watch command",
    ),
    "finetune to a budget": (of(eckart.finetune, model="m", table="t.csv", out="o"), "budget"),
    "merge_adapters": (
        of(eckart.merge_adapters, base="b", adapters=["a"], out="o"),
        "base adapters out weights dtype shard_bytes force watch",
    ),
    "join_adapters": (
        of(eckart.join_adapters, adapters=["a"], out="o", weights=[1.0]),
        "adapters out weights rank dtype force",
    ),
    "truncate_adapter": (
        of(eckart.truncate_adapter, folder="a", out="o", rank=1),
        "folder out rank budget dtype force",
    ),
    "verify_adapter": (
        of(eckart.verify_adapter, base="b", tuned="t", adapter="a"),
        "base tuned adapter tolerance watch",
    ),
    "compare_adapters": (
        of(eckart.compare_adapters, adapters=["a", "b"]),
        "adapters base tuned watch seed",
    ),
    "LowRankRecommender": (
        eckart.LowRankRecommender,
        "rank regularization count_exponent unobserved_weight implicit_features nonnegative "
        "attribute_weight method epochs implicit at_least disliked scale columns seed",
    ),
    "LowRankRecommender.fit": (
        asked("fit", interactions=RATINGS),
        "interactions user_ids item_ids user_attributes item_attributes test k on_step",
    ),
    "LowRankRecommender.fit with attributes": (
        asked("fit", interactions=RATINGS, item_attributes=DISHES),
        "user_attributes",
    ),
    "LowRankRecommender.partial_fit": (
        asked("partial_fit", interactions=RATINGS),
        "interactions user_ids item_ids user_attributes item_attributes",
    ),
    "LowRankRecommender.predict": (
        asked("predict", users=["ada"], items=["a"]),
        "users items clip",
    ),
    "LowRankRecommender.recommend": (asked("recommend", user="ada"), "user k seen only without"),
    "LowRankRecommender.recommend_all": (asked("recommend_all"), "users k seen only without"),
    "LowRankRecommender.similar": (asked("similar", item="a"), "item k"),
    "LowRankRecommender.explain": (asked("explain", user="ada", item="c"), "user item"),
    "LowRankRecommender.remove": (asked("remove", user="ada"), "user"),
    "LowRankRecommender.save": (asked("save", path="o"), "path force"),
    "LowRankRecommender.load": (of(eckart.LowRankRecommender.load), "path"),
    "LowRankReducer": (reducer, "n_components tol random_state center scale whiten certificate"),
    "LowRankReducer.fit": (reduced("fit"), "X y"),
    "LowRankReducer.partial_fit": (reduced("partial_fit"), "X y"),
    "LowRankReducer.fit_transform": (reduced("fit_transform"), "X y"),
    "LowRankReducer.transform": (reduced("transform"), "X"),
    "LowRankReducer.score": (reduced("score"), "X y"),
    "LowRankReducer.score_samples": (reduced("score_samples"), "X"),
    "LowRankReducer.inverse_transform": (restored, "X"),
}
CASES = [
    (name, parameter) for name, (_, parameters) in TABLE.items() for parameter in parameters.split()
]


NAMES = [name for name in dir(eckart) if name != "__version__"]
MADE = {"Certificate", "Diverged", "EckartError", "Extraction", "Factorization", "FineTuning",
        "Interrupted",
        "Matrix", "Outcome", "ConvergenceWarning", "ArgumentError", "MatrixError", "FormatError",
        "StorageError", "MissingExtra", "ClusterError"}  # fmt: skip
"""What eckart makes and a person does not, and the protocol of a matrix."""

ASKED = {
    "steps", "resolved", "suggested_rate", "width",  # a solver, by the loop
    "solve",  # the way to solve the rows, by the solver
    "choose", "enough", "explain",  # a rank rule, by the solver
    "transform", "transform_factors", "restore_factors",
    "check", "is_nuclear", "mean", "loss_of_zeros", "ridge",
    "shared", "solve_rows",  # a solver of rows, by `solve`
    "size", "targets", "weights",  # an objective, by the solver
    "LoRAStart.factors", "SpectralStart.factors", "AboveThreshold.scaled",
    "Factors.on", "BiasedFactors.with_rows", "BiasedFactors.with_columns",
}  # fmt: skip
"""Methods that parts of eckart ask of one another, with what they made themselves."""

KNOWN = {"certify": {"evidence", "probing"},
         "Entries": {"shape", "by_rows"},
         "LowRankRecommender.recommend_all": {"filters"},
         "LowRankReducer.fit_transform": {"fit_params"}}  # fmt: skip
"""Parameters for what eckart has found before, and names of others."""


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


def public():
    """Every parameter of every public function, class and method that a person calls."""
    found = {}
    for name in NAMES:
        thing = getattr(eckart, name)
        if name in MADE:
            continue
        found[name] = parameters(thing)
        for method in [one for one in dir(thing) if inspect.isclass(thing) and one[0] != "_"]:
            called = getattr(thing, method)
            own = str(getattr(called, "__module__", "")).startswith("eckart")
            if own and callable(called) and not {method, f"{name}.{method}"} & ASKED:
                found[f"{name}.{method}"] = parameters(called)
    return {
        (name, parameter)
        for name, listed in found.items()
        for parameter in listed
        if parameter not in KNOWN.get(name, ())
    }


def test_every_parameter_of_every_public_name_is_tried():
    tried = set(CASES)
    tried |= {("factorize", name) for name in ("tolerance", "budget", "ratio", "cluster")}
    tried |= {("extract_adapter", name) for name in ("tolerance", "budget", "ratio")}
    tried |= {("finetune", "budget")}
    assert public() <= tried, public() - tried


def is_sklearns(error):
    """Whether scikit-learn refused it, as it does for every estimator, in its own words."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return any("sklearn" in file for file in files) and type(error) in (TypeError, ValueError)


@pytest.mark.parametrize(("name", "parameter"), CASES)
@pytest.mark.filterwarnings("ignore::eckart.ConvergenceWarning", "ignore::RuntimeWarning")
def test_a_wrong_argument_is_one_sentence(name, parameter, tmp_path, monkeypatch):
    for place, (bad, value) in enumerate(BAD.items()):
        folder = tmp_path / str(place)
        folder.mkdir()
        monkeypatch.chdir(folder)
        try:
            TABLE[name][0](**{parameter: value})
        except EckartError as error:
            assert error.message.endswith("."), bad  # noqa: PT017 anything may be refused
        except Exception as error:
            error.add_note(bad)
            if not (name.startswith("LowRankReducer") and is_sklearns(error)):
                raise
