"""Known entries whose rows the workers of a cluster solve: the bits of one machine."""

import numpy as np
import pytest
import scipy.sparse

import eckart
from cluster_processes import keys, workers
from commandline import result
from eckart.cluster import Held, connected
from eckart.completion import on_cluster
from eckart.completion.als import Cholesky, CoordinateBlocks
from eckart.completion.base import EntriesProblem
from eckart.completion.run import make_start
from eckart.completion.sweeps import FactorTables
from eckart.errors import EckartError

SHAPE, RANK = (300, 90), 6


def known(*, weights=False, shape=SHAPE, seed=0, share=0.2):
    """Ratings at random; some rows and columns have none."""
    generator = np.random.default_rng(seed)
    places = np.flatnonzero(generator.random(shape[0] * shape[1]) < share)
    places = places[places // shape[1] > 5]
    values = generator.integers(1, 11, len(places)) / 2
    weight = generator.random(len(places)) + 0.5 if weights else None
    return eckart.Entries.of(
        places // shape[1], places % shape[1], values, weights=weight, shape=shape
    )


def bits(run):
    fitted = run.approximation
    parts = (fitted.factors.B, fitted.factors.A, fitted.row_bias, fitted.column_bias)
    return b"".join(np.ascontiguousarray(one).tobytes() for one in parts)


ATTRIBUTES = scipy.sparse.random_array((SHAPE[0], 12), density=0.2, rng=np.random.default_rng(1))
FITS = {
    "ratings": (eckart.Observed(), None),
    "weights": (eckart.Observed(), None),
    "unobserved": (eckart.Observed(unobserved_weight=0.02, biases=False), None),
    "nonnegative": (eckart.Observed(nonnegative=True), None),
    "implicit features": (eckart.Observed(implicit_features=1.0), None),
    "attributes": (eckart.Observed(row_attributes=ATTRIBUTES), None),
    "cholesky": (eckart.Observed(unobserved_weight=0.02), Cholesky()),
    "blocks": (eckart.Observed(), CoordinateBlocks(width=4)),
}


def fitted(name, **more):
    objective, by = FITS[name]
    solver = eckart.AlternatingLeastSquares(by=by, epochs=3)
    entries = known(weights=name == "weights")
    return eckart.factorize(
        entries, RANK, objective=objective, solver=solver, certificate=False, **more
    )


@pytest.mark.filterwarnings("ignore::eckart.ConvergenceWarning")
@pytest.mark.parametrize("name", FITS)
def test_a_cluster_finds_the_bits_of_one_machine(two, name):
    one, other = fitted(name), fitted(name, cluster=two)
    assert bits(other) == bits(one)
    # and says the same: where rows were solved is no setting
    assert other.recipe == one.recipe
    assert [step.loss for step in other.history] == [step.loss for step in one.history]
    assert keys(two) == 0


@pytest.mark.filterwarnings("ignore::eckart.ConvergenceWarning")
def test_bits_do_not_depend_on_the_workers():
    found = {bits(fitted("ratings"))}
    for count in (1, 3):
        with workers(count) as client:
            found.add(bits(fitted("ratings", cluster=client)))
    assert len(found) == 1


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_what_is_folded_in_is_the_same(two, side):
    objective = eckart.Observed()
    start = eckart.factorize(known(), RANK, objective=objective, certificate=False).approximation
    one, other = (
        eckart.fold_in(start, objective, known(seed=1), side, cluster=cluster)
        for cluster in (None, two)
    )
    assert one.factors.B.tobytes() == other.factors.B.tobytes()
    assert one.factors.A.tobytes() == other.factors.A.tobytes()


def test_samples_and_other_solvers_are_refused(two):
    for solver in (eckart.GibbsSampling(samples=2, keep=1), eckart.StochasticGradient()):
        with pytest.raises(EckartError) as error:
            eckart.factorize(known(), RANK, solver=solver, cluster=two)
        assert error.value.code == "on-a-cluster"
    drawn = eckart.factorize(
        known(), 1, solver=eckart.GibbsSampling(samples=2, keep=1), certificate=False
    )
    with pytest.raises(EckartError) as error:
        eckart.fold_in(drawn.approximation, eckart.Observed(), known(), cluster=two)
    assert error.value.code == "on-a-cluster"


@pytest.mark.parametrize("rows", [1000, 4000])
def test_no_more_travels_than_both_tables(two, rows):
    """Each half: the table of the other side to all workers; the own rows there and back."""
    shape, width = (rows, 800), 33
    entries = known(shape=shape, share=0.01)
    objective = eckart.Observed()
    start = make_start(entries, objective, width - 1, np.random.default_rng(0), None)
    problem = EntriesProblem(
        entries=entries, objective=objective, rank=width - 1, start=start,
        randomness=np.random.default_rng(0),
    )  # fmt: skip
    tables = FactorTables(problem.entries, problem.objective, problem.start)
    with connected(two) as cluster:
        held = Held(cluster)
        by = on_cluster.RowsOnCluster(by=Cholesky(), held=held)
        tables.sweep(by)  # entries are placed
        before = cluster.moved()
        tables.sweep(by)
        moved = cluster.moved() - before
        held.close()
    # workers count what they send: tables to one another, and what they found to here
    sent = 4 * width * (2 * sum(shape)) + 8 * sum(shape)
    assert moved <= 1.1 * sent + 2**16


def test_the_command_writes_the_model_of_one_machine(run, two, tmp_path):
    generator = np.random.default_rng(0)
    lines = [
        f"u{user},i{item},{generator.integers(1, 6)}"
        for user in range(60)
        for item in generator.choice(40, 12, replace=False)
    ]
    (tmp_path / "r.csv").write_text("\n".join(["user,item,rating", *lines]) + "\n")
    line = f"recommend fit {tmp_path}/r.csv --rank 4 --epochs 3 --regularization 0.1 --test random"
    one = result(run, f"{line} -o {tmp_path}/one --json")
    other = result(run, f"{line} -o {tmp_path}/other --cluster {two.scheduler.address} --json")
    assert other["evaluation"]["figures"] == one["evaluation"]["figures"]
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == names
    for name in names:
        if name.endswith((".npy", ".npz", ".safetensors", ".parquet")):
            ours, theirs = ((tmp_path / folder / name).read_bytes() for folder in ("one", "other"))
            assert ours == theirs, name
    assert keys(two) == 0
