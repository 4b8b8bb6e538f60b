"""The same answers on any number of workers, and in memory."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import eckart
from cluster_processes import keys, planted, workers
from commandline import result
from eckart.cluster import connected
from eckart.engine import components
from eckart.files import Selection, open_parts
from eckart.matrices import Dense, Streamed
from eckart.matrices.distributed import Distributed
from eckart.matrices.standardised import measured

RANK = 10


def bits(run):
    return run.factors.B.tobytes() + run.factors.A.tobytes()


def test_bits_do_not_depend_on_the_workers(two, tall, wide):
    found = {path: {bits(eckart.factorize(path, RANK, cluster=two))} for path, _ in (tall, wide)}
    for count in (1, 3):
        with workers(count) as client:
            for path, known in found.items():
                known.add(bits(eckart.factorize(path, RANK, cluster=client)))
    assert [len(known) for known in found.values()] == [1, 1]
    assert keys(two) == 0


def test_errors_are_those_in_memory(two, tall):
    path, W = tall
    run = eckart.factorize(path, RANK, cluster=two)
    errors = np.sqrt(np.cumsum(np.linalg.svd(W, compute_uv=False)[::-1] ** 2)[::-1])
    # the squares of a Gram matrix are off by some eps·‖W‖², and the error is their difference
    assert abs(run.certificate.error / errors[RANK] - 1) <= 1e-12
    own = np.linalg.norm(W - run.factors.B @ run.factors.A)
    assert abs(run.certificate.error / own - 1) <= 1e-12
    assert run.certificate.best_possible_error <= errors[RANK]


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(("centre", "scale"), [(True, False), (True, True), (False, False)])
@pytest.mark.parametrize("which", ["tall", "wide"])
def test_a_space_on_a_cluster_is_that_of_a_stream(two, request, which, centre, scale, held):
    """The streamed matrix of one machine takes the same steps, with other orders of sums."""
    path, W = request.getfixturevalue(which)
    settings = {"centre": centre, "scale": scale, "width": 32, "seed": 3}
    table, rows = open_parts(path, Selection())
    with connected(two) as cluster:
        there = Distributed(rows, cluster, held=held)
        one = components(measured(there, **settings), RANK, residual=None)
        there.close()
    other = components(measured(Streamed(table.source), **settings), RANK)
    eps = np.finfo(W.dtype).eps
    # both have an error that is at most 0.1 % above the best, and near that of the other
    assert abs(one.certificate.error / other.certificate.error - 1) <= 1e-4 + 1e3 * eps
    best = components(measured(Dense(W), **settings), RANK).certificate.best_possible_error
    assert one.certificate.best_possible_error <= one.certificate.error * (1 + 1e3 * eps)
    assert one.certificate.error <= 1.002 * other.certificate.error
    assert best <= one.certificate.error * (1 + 1e3 * eps)
    assert abs(one.total / other.total - 1) <= 1e3 * eps


def sources(folder, W):
    import zarr

    (folder / "parts").mkdir()
    for number, rows in enumerate(np.array_split(W, [100, 101, 700])):
        np.save(folder / "parts" / f"{number}.npy", rows)
    zarr.create_array(str(folder / "W.zarr"), data=W, chunks=(70, 31))
    table = pa.table({f"c{place}": column for place, column in enumerate(W.T)})
    pq.write_table(table, folder / "W.parquet", row_group_size=130)
    (folder / "several").mkdir()
    for number, first in enumerate(range(0, len(W), 400)):
        pq.write_table(table.slice(first, 400), folder / "several" / f"{number}.parquet")
    np.save(folder / "fortran.npy", np.asfortranarray(W))
    np.save(folder / "halves.npy", W.astype(np.float16))
    return ["parts", "W.zarr", "W.parquet", "several", "fortran.npy"]


def test_every_format_gives_the_same_bits(two, tmp_path):
    W = planted(1100, 40)
    np.save(tmp_path / "W.npy", W)
    expected = bits(eckart.factorize(tmp_path / "W.npy", RANK, cluster=two))
    for name in sources(tmp_path, W):
        assert bits(eckart.factorize(tmp_path / name, RANK, cluster=two)) == expected, name
    halves = eckart.factorize(tmp_path / "halves.npy", RANK, cluster=two)
    assert halves.factors.B.dtype == np.float32


@pytest.mark.parametrize("chunks", [(1100, 40), (13, 40), (200, 7)])
def test_arrays_of_dask_give_the_same_bits(two, tmp_path, chunks):
    import dask.array as da

    W = planted(1100, 40)
    np.save(tmp_path / "W.npy", W)
    array = da.from_array(W, chunks=chunks)
    expected = bits(eckart.factorize(tmp_path / "W.npy", RANK, cluster=two))
    assert bits(eckart.factorize(array, RANK, cluster=two)) == expected
    # the client of the fixture is current
    assert bits(eckart.factorize(array, RANK)) == expected
    assert bits(eckart.factorize(array.persist(), RANK)) == expected


def test_a_rank_by_tolerance_or_bytes_is_that_of_one_machine(two, tall):
    path, W = tall
    for choice in ({"tolerance": 0.2}, {"budget": "500kB"}, {"ratio": 0.1}):
        run = eckart.factorize(path, cluster=two, **choice)
        assert run.factors.rank == eckart.factorize(W, **choice).factors.rank, choice


def test_a_rank_above_the_noise_is_that_of_one_machine(two, tmp_path):
    for seed, (rows, columns) in enumerate([(500, 60), (1, 60), (40, 300), (400, 50)]):
        W = planted(rows, columns, rank=45, seed=seed)  # noise above it, or hardly any
        np.save(tmp_path / "W.npy", W)
        run = eckart.factorize(tmp_path / "W.npy", "auto", cluster=two)
        assert run.factors.rank == eckart.factorize(W, "auto").factors.rank


def test_factors_that_the_workers_write_are_read_back(run, two, wide, tmp_path):
    path, W = wide
    out = tmp_path / "F.zarr"
    address = two.scheduler.address
    done = result(run, f"factor {path} --rank {RANK} --cluster {address} -o {out} --json")
    factors = eckart.read_factors(out)
    whole = eckart.factorize(path, RANK, cluster=two)
    assert factors.B.tobytes() + factors.A.tobytes() == bits(whole)
    error = np.linalg.norm(W.astype(float) - factors.B.astype(float) @ factors.A)
    assert abs(done["error"] / error - 1) <= 1e-4
    assert done["cluster"]["passes"] == done["parts"][0]["passes"]


@pytest.mark.parametrize("suffix", [".zarr", ".parquet"])
def test_scores_are_those_of_one_machine(run, two, tall, tmp_path, suffix):
    path, _ = tall
    there, here = tmp_path / f"S{suffix}", tmp_path / "here.npy"
    address = two.scheduler.address
    done = result(run, f"reduce {path} --rank 5 --cluster {address} -o {there} --json")
    result(run, f"reduce {path} --rank 5 -o {here} --json --force")
    if suffix == ".zarr":
        import zarr

        scores = zarr.open_array(str(there), mode="r")[:]
    else:
        scores = pq.read_table(there).to_pandas().to_numpy()
    expected = np.load(here)
    assert np.abs(scores - expected).max() <= 1e-9 * np.abs(expected).max()
    assert done["streamed"]
    assert (tmp_path / "S.model.npz").exists()
